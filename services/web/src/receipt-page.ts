import { html } from "hono/html";
import type { Integration, Receipt } from "./api.ts";
import { type Frame, type Html, layout } from "./layout.ts";
import { wire } from "./wire.ts";

/** What a person is given on leaving. Prints on one sheet. */
export function receiptPage(frame: Frame, receipt: Receipt, integration: Integration | undefined): Html {
  const { words, instant, number } = frame.speech;
  const said = words.receipt;
  const name = integration?.name ?? receipt.integration;
  const byHand = receipt.revocation === "confirmed" ? undefined : safeLink(integration?.revocationUrl);
  return layout(
    frame,
    said.title,
    html`<article class="card receipt">
        <h1>${said.title}</h1>
        <div class="line wide">
          <span class="plug">${words.you}</span>${wire("disconnected", words.wire(words.state.disconnected, name))}<span
            class="plug"
            >${name}</span
          >
        </div>
        <p class="lead">${said.lead(name)}</p>
        <dl class="facts">
          ${
            receipt.account === null
              ? ""
              : html`<dt>${said.account}
                  <dd>${receipt.account}`
          }
          <dt>${said.at}
          <dd class="mono"><time datetime="${receipt.at}">${instant(receipt.at)}</time>
          <dt>${said.revocation}
          <dd>
            ${said.revocationOf[receipt.revocation]}${byHand === undefined ? "" : html`<br /><a href="${byHand}" rel="noreferrer">${said.byHand(name)}</a>`}

          <dt>${said.secrets}
          <dd class="mono">${number(receipt.secretsDeleted)}
          <dt>${said.eventsDeleted}
          <dd class="mono">${number(receipt.eventsDeleted)}
          <dt>${said.eventsKept}
          <dd class="mono">
            ${number(receipt.eventsKept)}
            ${
              receipt.keptUntil === null
                ? ""
                : html`<dt>${said.keptUntil}
                    <dd class="mono"><time datetime="${receipt.keptUntil}">${instant(receipt.keptUntil)}</time>`
            }

          <dt>${said.number}
          <dd class="mono">${receipt.id}
        </dl>
      </article>
      <p class="muted screen">${said.print}</p>
      <p class="row actions screen">
        <a class="button" href="/receipts/${receipt.id}?format=json" download="receipt-${receipt.id}.json"
          >${said.download}</a
        ><a class="button quiet" href="/connections">${words.history.back}</a>
      </p>`,
  );
}

/** A connector's manifest is code that we reviewed; its link is checked all the same. */
const safeLink = (url: string | undefined): string | undefined =>
  url !== undefined && /^https?:\/\//.test(url) ? url : undefined;
