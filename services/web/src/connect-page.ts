import { html } from "hono/html";
import type { Integration } from "./api.ts";
import { type Frame, type Html, layout, notice } from "./layout.ts";
import { wire } from "./wire.ts";

/** Events are kept so long unless an organisation decides otherwise. */
const RETENTION_DAYS = 30;

export interface ConnectOutcome {
  readonly outcome: string | undefined;
  readonly code: string | undefined;
  readonly correlation: string | undefined;
}

/** What a person agrees to, before the provider asks them. */
export function connectPage(
  frame: Frame,
  integration: Integration,
  /** The connection to renew; absent for a new one. */
  connectionId: string | undefined,
  came: ConnectOutcome,
): Html {
  const { words, language } = frame.speech;
  const { connect } = words;
  const { name, scopes, actions, sandbox } = integration;
  const title = connectionId === undefined ? connect.title(name) : connect.again(name);
  const state = connectionId === undefined ? "disconnected" : "expired";
  return layout(
    frame,
    title,
    html`${outcomeNotice(frame, integration, connectionId, came)}
      <h1>${title}</h1>
      <div class="line wide">
        <span class="plug">${words.you}</span>${wire(state, words.wire(words.state[state], name))}<span class="plug"
          >${name}</span
        >
      </div>
      ${sandbox ? html`<p><span class="tag">${words.sandbox}</span> ${words.sandboxHint}</p>` : ""}
      <p class="lead">${connect.lead(name)}</p>
      <dl class="terms">
        <dt>${connect.reads}
        <dd>
          <ul class="scopes">
            ${scopes.map(
              (scope) =>
                html`<li>
                  <strong>${scope.label[language]}</strong>
                  <em class="${scope.required ? "must" : ""}"
                    >${scope.required ? words.shares.required : words.shares.optional}</em
                  ><span>${scope.why[language]}</span> <code>${scope.id}</code>
                </li>`,
            )}
          </ul>

        <dt>${connect.changes}
        <dd>
          ${
            actions.length === 0
              ? connect.changesNothing
              : html`<ul>
                    ${actions.map((action) => html`<li>${action.label[language]}</li>`)}
                  </ul>
                  ${connect.changesWhen}`
          }

        <dt>${connect.often}
        <dd>${often(frame, integration)}
        <dt>${connect.kept}
        <dd>
          ${connect.keptDays(RETENTION_DAYS)}
          ${
            frame.me === undefined
              ? ""
              : html`<dt>${connect.who}
                  <dd>${connect.whoOrganization(frame.me.organization.name)}`
          }

        <dt>${connect.never}
        <dd>
          <ul>
            ${connect.neverList.map((one) => html`<li>${one}</li>`)}
          </ul>
      </dl>
      <form method="post" action="/connect/${integration.id}" class="row actions">
        ${
          connectionId === undefined ? "" : html`<input type="hidden" name="connection" value="${connectionId}" />`
        }<button class="primary">${connect.go(name)}</button
        ><a class="button quiet" href="/connections">${connect.notNow}</a>
      </form>`,
  );
}

function often({ speech }: Frame, { pollIntervalMs }: Integration): string {
  const { connect } = speech.words;
  return pollIntervalMs === null ? connect.oftenPush : connect.oftenEvery(speech.every(pollIntervalMs));
}

/** How the last attempt ended. `linked` leads to the connections instead. */
function outcomeNotice(
  { speech }: Frame,
  { id }: Integration,
  connectionId: string | undefined,
  { outcome, code, correlation }: ConnectOutcome,
): Html | string {
  const { words } = speech;
  const said = words.outcome;
  switch (outcome) {
    case "denied":
      return notice("plain", said.denied.title, said.denied.hint);
    case "ended":
      return notice("bad", said.ended.title, said.ended.hint);
    case "partial":
      return notice("bad", said.partial.title, said.partial.hint);
    case "already":
      return notice(
        "plain",
        said.already.title,
        said.already.hint,
        html`<a class="button" href="/connections">${said.already.see}</a>`,
      );
    case "other-account":
      return notice(
        "bad",
        said.otherAccount.title,
        said.otherAccount.hint,
        html`<span class="row"
          >${
            connectionId === undefined
              ? ""
              : html`<a class="button primary" href="/connect/${id}?connection=${connectionId}"
                  >${said.otherAccount.same}</a
                >`
          }<a class="button" href="/connect/${id}">${said.otherAccount.add}</a></span
        >`,
      );
    case "error":
      return notice(
        "bad",
        said.error.title,
        said.error.hint,
        ...(code === undefined ? [] : [html`${said.code}: <code>${code}</code>`]),
        ...(correlation === undefined ? [] : [html`${said.correlation}: <code>${correlation}</code>`]),
      );
    default:
      return "";
  }
}
