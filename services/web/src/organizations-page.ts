import { html } from "hono/html";
import type { Me } from "./api.ts";
import { type Frame, type Html, layout, notice } from "./layout.ts";
import { permissionList } from "./permissions.ts";
import type { Organization, ReceivedInvitation } from "./people-api.ts";

/** Which organisations a person belongs to, and the way from one to another. */
export function organizationsPage(
  frame: Frame & { readonly me: Me },
  organizations: readonly Organization[],
  said: Html | "",
): Html {
  const words = frame.speech.words.people.organizations;
  const manages = organizations.some((one) => one.current && one.permissions.includes("integrations.manage"));
  return layout(
    frame,
    words.title,
    html`<h1>${words.title}</h1>
      ${said}
      <p class="lead">${words.lead}</p>
      <ul class="people">
        ${organizations.map(
          (one) =>
            html`<li id="organization-${one.id}" class="card" tabindex="-1">
              <h2>${one.name}</h2>
              ${permissionList(frame, one.permissions)}
              <div class="row actions">${one.current ? here(frame, one) : door(frame, one)}</div>
            </li>`,
        )}
      </ul>
      ${manages ? make(frame) : ""}`,
  );
}

const here = (frame: Frame, { name, permissions }: Organization): Html => {
  const words = frame.speech.words.people.organizations;
  const people = html`<a class="button" href="/people">${words.people(name)}</a>`;
  return html`<strong class="muted">${words.current}</strong>
    ${permissions.includes("integrations.manage") ? people : ""}`;
};

/** The session is exchanged where sessions are made; the form goes there itself. */
const door = (frame: Frame, { id, name }: Organization): Html =>
  html`<form method="post" action="/auth/organization">
    <input type="hidden" name="organization" value="${id}" /><input
      type="hidden"
      name="returnTo"
      value="/connections"
    /><button>${frame.speech.words.people.organizations.go(name)}</button>
  </form>`;

const make = (frame: Frame): Html => {
  const words = frame.speech.words.people.organizations;
  return html`<h2>${words.make}</h2>
    <p class="muted">${words.makeLead}</p>
    <form method="post" action="/organizations" class="entry">
      <label for="name">${words.name}</label>
      <input id="name" name="name" required maxlength="100" autocomplete="organization" />
      <button>${words.create}</button>
    </form>`;
};

/** What an invitation leads to, for somebody who is signed in. */
export function invitationPage(frame: Frame, received: ReceivedInvitation, token: string): Html {
  const { invitation: words } = frame.speech.words.people;
  const title = words.title(received.name);
  return layout(
    frame,
    title,
    html`<h1>${title}</h1>
      <p class="lead">${words.lead(frame.speech.day(received.expiresAt))}</p>
      <h2>${words.permissions}</h2>
      ${permissionList(frame, received.permissions)}
      <form method="post" action="/invitation">
        <input type="hidden" name="token" value="${token}" />
        <div class="row actions">
          <button class="primary">${words.go}</button><a class="button quiet" href="/connections">${words.notNow}</a>
        </div>
      </form>`,
  );
}

/** The same for somebody who is not: signing in with the invited address accepts. */
export function invitationSignInPage(frame: Frame, token: string): Html {
  const { invitation: words } = frame.speech.words.people;
  const where = `${frame.signInPath}?returnTo=${encodeURIComponent("/organizations?outcome=joined")}&ticket=${token}`;
  return layout(
    frame,
    words.signInTitle,
    html`<h1>${words.signInTitle}</h1>
      <p class="lead">${words.signInLead}</p>
      <p><a class="button primary" href="${where}">${words.signInGo}</a></p>`,
  );
}

/** What came of a form, above the page. */
export const outcomeNotice = (frame: Frame, outcome: string | undefined): Html | "" => {
  const { organizations, members, invitations } = frame.speech.words.people;
  if (outcome === "elsewhere") return notice("bad", organizations.elsewhere);
  const said: Readonly<Record<string, string>> = {
    created: organizations.created,
    joined: organizations.joined,
    saved: members.saved,
    removed: members.removed,
    revoked: invitations.revoked,
  };
  const sentence = Object.entries(said).find(([name]) => name === outcome)?.[1];
  return sentence === undefined ? "" : notice("good", sentence);
};
