import { html } from "hono/html";
import type { ConnectionState } from "./api.ts";
import type { Html } from "./layout.ts";

/**
 * The wire between two names. Its shape is the state, readable without colour and at any width: lines are percentages
 * of the width, and the sign in the middle is drawn in pixels about its centre.
 */
export const wire = (state: ConnectionState, title: string): Html =>
  html`<svg class="wire" data-state="${state}" role="img" height="24">
    <title>${title}</title>
    ${shapes[state]}${ends(state)}
  </svg>`;

const ends = (state: ConnectionState): Html => {
  const kind = state === "disconnected" ? "hollow" : "solid";
  return html`<circle class="${kind}" cx="4" cy="12" r="4" /><svg x="100%" class="o">
      <circle class="${kind}" cx="-4" cy="12" r="4" />
    </svg>`;
};

const along = (kind: string): Html => html`<line class="${kind}" x1="9" x2="100%" y1="12" y2="12" />`;
const middle = (shape: Html): Html => html`<svg x="50%" y="12" class="o">${shape}</svg>`;
const whole = along("");

const shapes: Readonly<Record<ConnectionState, Html>> = {
  connected: whole,
  syncing: html`${along("thin")}<svg class="o travel"><line class="thick" x1="44%" x2="56%" y1="12" y2="12" /></svg>`,
  error: html`${whole}${middle(html`<path class="hole" d="M-9 0 0-9 9 0 0 9z" />`)}`,
  expired: html`${whole}${middle(html`<path class="gap" d="M-11-9h22V9h-22z" /><path d="M-11-8V8M11-8V8" />`)}`,
  limited: html`${along("thin")}<line class="thick" x1="9" x2="14%" y1="12" y2="12" /><line
      class="thick"
      x1="86%"
      x2="100%"
      y1="12"
      y2="12"
    />`,
  stale: along("dashed"),
  paused: html`${whole}${middle(html`<path class="gap" d="M-12-9h24V9h-24z" /><path class="bars" d="M-5-8V8M5-8V8" />`)}`,
  disconnected: along("dotted"),
};
