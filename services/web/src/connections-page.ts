import { html } from "hono/html";
import type { Connection, ConnectionState, Integration } from "./api.ts";
import { connectionCard } from "./connection-card.ts";
import { type Frame, type Html, layout, notice } from "./layout.ts";
import { wire } from "./wire.ts";

/** What wants attention most comes first. Only `expired` waits for the person: `error` heals alone. */
const ORDER: readonly ConnectionState[] = [
  "expired",
  "error",
  "limited",
  "stale",
  "syncing",
  "connected",
  "paused",
  "disconnected",
];
const ENDED_MAX = 10;

export function connectionsPage(
  frame: Frame,
  connections: readonly Connection[],
  integrations: readonly Integration[],
  /** The connection that was just made, if one was. */
  linked: string | undefined,
): Html {
  const { words } = frame.speech;
  const sorted = connections.toSorted(
    (one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state) || one.name.localeCompare(other.name),
  );
  const live = sorted.filter(({ state }) => state !== "disconnected");
  const needy = live.filter(({ state }) => state === "expired");
  const calm = live.filter(({ state }) => state !== "expired");
  const ended = sorted.filter(({ state }) => state === "disconnected").slice(0, ENDED_MAX);
  const card = (connection: Connection) =>
    connectionCard(
      frame,
      connection,
      integrations.find(({ id }) => id === connection.integration),
      connection.id === linked,
    );
  const section = (id: string, title: string, content: readonly Html[]) =>
    content.length === 0
      ? ""
      : html`<section aria-labelledby="${id}">
          <h2 id="${id}">${title}</h2>
          ${content}
        </section>`;
  return layout(
    frame,
    words.connections.title,
    html` <h1>${words.connections.title}</h1>
      <p class="lead">${live.length === 0 ? words.connections.empty : words.connections.lead}</p>
      ${section("needs-you", words.connections.needsYou(needy.length), needy.map(card))}
      ${section("yours", needy.length > 0 ? words.connections.others : words.connections.working(calm.length), calm.map(card))}
      ${section(
        "add",
        words.connections.add,
        integrations
          .filter(({ owner }) => owner === "user")
          .map((integration) =>
            offer(
              frame,
              integration,
              live.some((one) => one.integration === integration.id),
            ),
          ),
      )}
      ${section("ended", words.connections.ended, ended.map(card))}`,
  );
}

function offer({ speech }: Frame, { id, name, description, sandbox }: Integration, another: boolean): Html {
  const { words, language } = speech;
  // The one that does not say whose account is told apart for whoever hears it out of its place.
  const link = another
    ? html`<a class="button" href="/connect/${id}" aria-label="${words.action.of(words.action.connectAnother, name)}"
        >${words.action.connectAnother}</a
      >`
    : html`<a class="button" href="/connect/${id}">${words.action.connect(name)}</a>`;
  return html`<article class="card offer" aria-labelledby="offer-${id}">
    <div class="line">
      <span class="plug">${words.you}</span>${wire("disconnected", words.wire(words.state.disconnected, name))}
      <h3 id="offer-${id}" class="plug">${name}</h3>
    </div>
    <div class="row between">
      <p>${description[language]}${sandbox ? html` <span class="tag">${words.sandbox}</span>` : ""}</p>
      ${link}
    </div>
  </article>`;
}

/** Our own fault: what was last seen, by name, and no state that we cannot vouch for. */
export function cannotCheckPage(frame: Frame, names: readonly string[]): Html {
  const { connections } = frame.speech.words;
  return layout(
    frame,
    connections.title,
    html`<h1>${connections.title}</h1>
      ${notice("bad", connections.cannotCheck)}
      ${
        names.length === 0
          ? ""
          : html`<p>${connections.cannotCheckHint}</p>
              <ul class="names">
                ${names.map((name) => html`<li>${name}</li>`)}
              </ul>`
      }
      <p><a class="button" href="/connections">${connections.reload}</a></p>`,
  );
}
