import { html } from "hono/html";
import type { Connection } from "./api.ts";
import { type Frame, type Html, layout } from "./layout.ts";
import { wire } from "./wire.ts";

/** What leaving removes and what it keeps, before it happens. */
export function disconnectPage(frame: Frame, { id, name, account, events, state }: Connection): Html {
  const { words } = frame.speech;
  const { disconnect } = words;
  return layout(
    frame,
    disconnect.title(name),
    html`<h1>${disconnect.title(name)}</h1>
      <div class="line wide">
        <span class="plug">${words.you}</span>${wire(state, words.wire(words.state[state], name))}<span class="plug"
          >${name}</span
        >
      </div>
      ${account === null ? "" : html`<p class="account">${account.label}</p>`}
      <div class="columns">
        <section aria-labelledby="removed">
          <h2 id="removed">${disconnect.removed}</h2>
          <ul class="removed">
            ${disconnect.removedList.map((one) => html`<li>${one}</li>`)}
          </ul>
        </section>
        <section aria-labelledby="kept">
          <h2 id="kept">${disconnect.kept}</h2>
          <ul class="kept">
            ${events > 0 ? html`<li>${disconnect.keptEvents(events)}</li>` : ""}
            <li>${disconnect.keptReceipt}</li>
          </ul>
        </section>
      </div>
      <form method="post" action="/connections/${id}/disconnect">
        ${
          events > 0
            ? html`<label class="tick"
                ><input type="checkbox" name="deleteEvents" value="1" /><span
                  >${disconnect.deleteToo(events)}<small>${disconnect.deleteHint}</small></span
                ></label
              >`
            : ""
        }
        <div class="row actions">
          <a class="button" href="/connections#connection-${id}">${disconnect.cancel}</a
          ><button class="danger">${disconnect.go}</button>
        </div>
      </form>`,
  );
}
