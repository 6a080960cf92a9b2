import { html } from "hono/html";
import type { Frame, Html } from "./layout.ts";
import { permissions } from "./people-api.ts";

/** What somebody may do, in words. */
export function permissionList({ speech }: Frame, held: readonly string[]): Html {
  const { permissions: words, noPermissions } = speech.words.people;
  if (held.length === 0) return html`<p>${noPermissions}</p>`;
  return html`<ul class="may">
    ${permissions.filter((one) => held.includes(one)).map((one) => html`<li>${words[one]}</li>`)}
  </ul>`;
}

/** A tick box for each. Those that the reader does not have cannot be given or taken by them. */
export function permissionBoxes(
  { speech }: Frame,
  held: readonly string[],
  own: readonly string[],
  legend: string,
): Html {
  const { permissions: words } = speech.words.people;
  const box = (one: (typeof permissions)[number]): Html => {
    const marks = html`${held.includes(one) ? html` checked` : ""}${own.includes(one) ? "" : html` disabled`}`;
    // A disabled box is not sent; what it says is kept beside it.
    const kept =
      held.includes(one) && !own.includes(one) ? html`<input type="hidden" name="permission" value="${one}" />` : "";
    return html`<label class="tick"
        ><input type="checkbox" name="permission" value="${one}" ${marks} /><span>${words[one]}</span></label
      >${kept}`;
  };
  return html`<fieldset>
    <legend>${legend}</legend>
    ${permissions.map(box)}
  </fieldset>`;
}
