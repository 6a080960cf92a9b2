import { html } from "hono/html";
import type { Html } from "./layout.ts";
import type { Speech } from "./words/language.ts";

const HALF_HOUR_MS = 1_800_000;
const HEIGHT = 20;

/**
 * 24 hours as 48 bars, with a table twin for those who hear the page. Bars grow with the square root, so that one busy
 * half hour does not flatten the day.
 * @param counts Events per half hour, oldest first; the last one ends now.
 */
export function strip(counts: readonly number[], now: Date, { words, number, clock }: Speech): Html {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const most = Math.max(1, ...counts);
  const bar = (count: number, index: number): string => {
    const height = Math.max(4, Math.round(HEIGHT * Math.sqrt(count / most)));
    return `M${index * 10} ${HEIGHT}v-${height}h8v${height}z`;
  };
  const bars = counts.map((count, index) => (count > 0 ? bar(count, index) : "")).join("");
  const quiet = counts.map((count, index) => (count > 0 ? "" : `M${index * 10} ${HEIGHT}v-2h8v2z`)).join("");
  const start = (index: number): string =>
    clock(new Date(now.getTime() - (counts.length - index) * HALF_HOUR_MS).toISOString());
  const rows = counts.flatMap((count, index) =>
    count > 0
      ? [
          html`<tr>
            <th scope="row">${start(index)}
            <td>${number(count)}
           `,
        ]
      : [],
  );
  return html`<figure class="strip">
    <svg viewBox="0 0 478 ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
      <path class="quiet" d="${quiet}" />
      <path d="${bars}" />
    </svg>
    <figcaption>
      <span aria-hidden="true">${words.strip.from}</span><span>${words.strip.title(total)}</span
      ><span aria-hidden="true">${words.strip.to}</span>
    </figcaption>
    ${
      rows.length === 0
        ? ""
        : html`<div class="unseen">
            <table>
              <caption>
                ${words.strip.title(total)}. ${words.strip.leftOut}
              </caption>
              <tr>
                <th scope="col">${words.strip.half}
                <th scope="col">${words.strip.events}${rows}
            </table>
          </div>`
    }
  </figure>`;
}
