import { html } from "hono/html";
import type { Connection, Integration } from "./api.ts";
import { button, type Frame, type Html, notice } from "./layout.ts";
import { strip } from "./strip.ts";
import { wire } from "./wire.ts";

/**
 * One connection: the wire, what its state means, what it shares, and what can be done about it. A fresh one says so
 * itself, because that is where the address leads.
 */
export function connectionCard(
  frame: Frame,
  connection: Connection,
  integration: Integration | undefined,
  fresh = false,
): Html {
  const { words } = frame.speech;
  const { id, name, state, account } = connection;
  const heading = `name-${id}`;
  const ended = state === "disconnected";
  return html`<article id="connection-${id}" class="card" tabindex="-1" aria-labelledby="${heading}">
    ${fresh ? linkedNotice(frame, connection) : ""}
    <div class="line">
      <span class="plug">${words.you}</span>${wire(state, words.wire(words.state[state], name))}
      <h3 id="${heading}" class="plug">${name}</h3>
    </div>
    ${account === null ? "" : html`<p class="account">${account.label}</p>`}
    <p class="says">
      <strong class="badge" data-state="${state}">${words.state[state]}</strong>
      ${stateSentences(frame, connection, integration).join(" ")}
    </p>
    ${ended ? "" : strip(connection.strip, frame.now, frame.speech)}
    ${ended || integration === undefined ? "" : shares(frame, connection, integration)}
    <div class="row actions">${actions(frame, connection)}</div>
  </article>`;
}

function linkedNotice({ speech }: Frame, { name, scopes }: Connection): Html {
  const { linked, linkedPartly } = speech.words.connections;
  const whole = scopes.asked.every((scope) => scopes.granted.includes(scope));
  return notice("good", whole ? linked(name) : linkedPartly(name));
}

/** What the badge means, in whole sentences. */
export function stateSentences(
  { speech, me, now }: Frame,
  connection: Connection,
  integration: Integration | undefined,
): readonly string[] {
  const { words, ago, day, number, language } = speech;
  const { sentence } = words;
  const { lastEventAt, verifiedAt, nextRunAt, progress, reason, scopes } = connection;
  const verified = verifiedAt === null ? [] : [sentence.verified(ago(verifiedAt))];
  const since = day(connection.stateSince);
  switch (connection.state) {
    case "connected":
      return [
        sentence.working,
        lastEventAt === null ? sentence.waiting : sentence.lastEvent(ago(lastEventAt)),
        ...verified,
      ];
    case "syncing":
      if (progress === null) return [sentence.readingStarts];
      if (progress.total === null) return [sentence.readingSome(progress.read)];
      return [sentence.reading(number(progress.read), number(progress.total))];
    case "error":
      return [
        nextRunAt === null || new Date(nextRunAt) <= now
          ? sentence.tryingAgainSoon
          : sentence.tryingAgain(ago(nextRunAt)),
        ...(reason === null ? [] : [reason.message]),
      ];
    case "expired":
      return [sentence.expired];
    case "limited": {
      const missing = integration?.scopes.filter((scope) => !scopes.granted.includes(scope.id)) ?? [];
      return [
        sentence.permissions(scopes.granted.length, scopes.asked.length),
        ...missing.map((scope) => sentence.featureOff(scope.label[language])),
      ];
    }
    case "stale":
      return [verifiedAt === null ? sentence.staleNever : sentence.stale(ago(verifiedAt))];
    case "paused": {
      const who = connection.pausedBy;
      if (who === null) return [sentence.paused(since)];
      const mine = me !== undefined && [me.user.id, me.user.name, me.user.email].includes(who);
      return [mine ? sentence.pausedByYou(since) : sentence.pausedBy(who, since)];
    }
    case "disconnected":
      return [sentence.disconnected(since)];
  }
}

/** The main action of the state first; disconnecting is reachable from every one. */
function actions({ speech }: Frame, { id, integration, name, state, receiptId }: Connection): readonly Html[] {
  const { action } = speech.words;
  const at = `/connections/${id}`;
  const act = (verb: string, label: string, kind = "") => button(`${at}/${verb}`, label, action.of(label, name), kind);
  const link = (href: string, label: string, kind: string) =>
    html`<a class="button ${kind}" href="${href}" aria-label="${action.of(label, name)}">${label}</a>`;
  const again = (label: string) =>
    html`<a class="button primary" href="/connect/${integration}?connection=${id}">${label}</a>`;
  const history = link(at, action.history, "quiet");
  const leave = link(`${at}/disconnect`, action.disconnect, "danger");
  const pause = act("pause", action.pause);
  switch (state) {
    case "connected":
      return [pause, history, leave];
    case "syncing":
      return [act("pause", action.stop), history, leave];
    case "error":
      return [act("sync", action.retry), pause, history, leave];
    case "expired":
      return [again(action.reconnect(name)), history, leave];
    case "limited":
      return [again(action.choose), pause, history, leave];
    case "stale":
      return [act("sync", action.syncNow, "primary"), pause, history, leave];
    case "paused":
      return [act("resume", action.resume, "primary"), history, leave];
    case "disconnected":
      return [
        html`<a class="button" href="/connect/${integration}">${action.connect(name)}</a>`,
        ...(receiptId === null ? [] : [link(`/receipts/${receiptId}`, action.receipt, "quiet")]),
        history,
      ];
  }
}

function shares({ speech, me }: Frame, { scopes }: Connection, integration: Integration): Html {
  const { words, language } = speech;
  const asked = integration.scopes.filter((scope) => scopes.asked.includes(scope.id));
  const given = scopes.asked.filter((scope) => scopes.granted.includes(scope));
  return html`<details>
    <summary>${words.shares.title}</summary>
    <p>${words.shares.summary(given.length, scopes.asked.length)}</p>
    <ul class="scopes">
      ${asked.map(
        (scope) =>
          html`<li>
            <strong>${scope.label[language]}</strong
            >${given.includes(scope.id) ? "" : html` <em class="missing">${words.shares.notGiven}</em>`}<span
              >${scope.why[language]}</span
            >
            <code>${scope.id}</code>
          </li>`,
      )}
    </ul>
    ${me === undefined ? "" : html`<p class="muted">${words.shares.usedBy(me.organization.name)}</p>`}
  </details>`;
}
