import { html } from "hono/html";
import type { Connection, ConnectionEvent, Integration } from "./api.ts";
import { stateSentences } from "./connection-card.ts";
import { type Frame, type Html, layout } from "./layout.ts";
import { strip } from "./strip.ts";
import { wire } from "./wire.ts";

/** What was read from one connection, in plain words. Titles are personal and stay hidden until asked for. */
export function historyPage(
  frame: Frame,
  connection: Connection,
  integration: Integration | undefined,
  events: readonly ConnectionEvent[],
  titles: boolean,
): Html {
  const { words, instant } = frame.speech;
  const { id, name, state, account } = connection;
  const { history } = words;
  const what = (type: string): string =>
    (words.events as Readonly<Record<string, string>>)[type] ?? words.otherEvent(type.split(".").at(-1) ?? type);
  return layout(
    frame,
    history.title(name),
    html`<p><a href="/connections#connection-${id}">← ${history.back}</a></p>
      <h1>${history.title(name)}</h1>
      <div class="line wide">
        <span class="plug">${words.you}</span>${wire(state, words.wire(words.state[state], name))}<span class="plug"
          >${name}</span
        >
      </div>
      ${account === null ? "" : html`<p class="account">${account.label}</p>`}
      <p class="says">
        <strong class="badge" data-state="${state}">${words.state[state]}</strong>
        ${stateSentences(frame, connection, integration).join(" ")}
      </p>
      ${state === "disconnected" ? "" : strip(connection.strip, frame.now, frame.speech)}
      <p>${events.length === 0 ? history.none : history.lead(connection.events)}</p>
      ${
        events.length === 0
          ? ""
          : html`<h2>${history.latest}</h2>
              <div class="row between">
                <p class="muted">${titles ? "" : history.hidden}</p>
                <div class="row">
                  <a class="button" href="/connections/${id}${titles ? "" : "?titles=1"}"
                    >${titles ? history.hideTitles : history.showTitles}</a
                  >
                  <a class="button quiet" href="/connections/${id}/events.json" download>${history.download}</a>
                </div>
              </div>
              <table class="events">
                <thead>
                  <tr>
                    <th scope="col">${history.number}
                    <th scope="col">${history.when}
                    <th scope="col">${history.what}${titles ? html`<th scope="col">${history.title_}` : ""}
                </thead>
                <tbody>
                  ${events.map(
                    (event) =>
                      html`<tr>
                        <td data-label="${history.number}" class="mono">${String(event.sequence)}
                        <td data-label="${history.when}" class="mono">
                          <time datetime="${event.time}">${instant(event.time)}</time>

                        <td data-label="${history.what}">
                          ${what(event.type)}${titles ? html`<td data-label="${history.title_}">${titleOf(event) ?? "–"}` : ""}
                       `,
                  )}
                </tbody>
              </table>`
      }
      ${state === "disconnected" ? "" : html`<p class="row actions"><a class="button danger" href="/connections/${id}/disconnect">${words.action.disconnect}</a></p>`}`,
  );
}

/** What a person would call the object: every domain's events carry one object, with a title or a name. */
function titleOf(event: ConnectionEvent): string | undefined {
  for (const object of Object.values(event.data)) {
    if (object === null || typeof object !== "object") continue;
    const { title, name } = object as { title?: unknown; name?: unknown };
    if (typeof title === "string" && title !== "") return title;
    if (typeof name === "string" && name !== "") return name;
  }
  return undefined;
}
