import { html } from "hono/html";
import type { Me } from "./api.ts";
import { type Frame, type Html, layout } from "./layout.ts";
import type { Invitation, MadeInvitation, Member, Notice } from "./people-api.ts";
import { permissionBoxes, permissionList } from "./permissions.ts";

type Known = Frame & { readonly me: Me };

/** Who belongs to an organisation, what they may do, and who is invited. */
export function peoplePage(
  frame: Known,
  members: readonly Member[],
  invitations: readonly Invitation[],
  notices: readonly Notice[],
  said: Html | "",
): Html {
  const { members: words, invitations: asked } = frame.speech.words.people;
  const title = words.title(frame.me.organization.name);
  return layout(
    frame,
    title,
    html`<h1>${title}</h1>
      ${said} ${notices.length === 0 ? "" : noticeList(frame, notices)}
      <p class="lead">${words.lead}</p>
      <ul class="people">
        ${members.map((one) => memberCard(frame, one))}
      </ul>
      <h2 id="invitations">${asked.title}</h2>
      ${
        invitations.length === 0
          ? html`<p>${asked.none}</p>`
          : html`<ul class="people">
              ${invitations.map((one) => invitationCard(frame, one))}
            </ul>`
      }
      <h2>${asked.inviteTitle}</h2>
      <form method="post" action="/people/invitations" class="entry">
        <label for="email">${asked.address}<small>${asked.addressHint}</small></label>
        <input id="email" name="email" type="email" required maxlength="254" autocomplete="off" />
        ${permissionBoxes(frame, ["integrations.view"], frame.me.permissions, words.may)}
        <button class="primary">${asked.go}</button>
      </form>`,
  );
}

/** What an administrator has to know, above everything else that can be done here. */
function noticeList({ speech }: Known, notices: readonly Notice[]): Html {
  const { title, kinds, other, where } = speech.words.people.notices;
  return html`<section class="card" aria-labelledby="notices">
    <h2 id="notices">${title}</h2>
    <ul>
      ${notices.map(
        ({ at, code, place, rowKey }) =>
          html`<li>
            ${Object.hasOwn(kinds, code) ? kinds[code as keyof typeof kinds] : other}
            <small>${speech.day(at)} · ${where(place, rowKey)}</small>
          </li>`,
      )}
    </ul>
  </section>`;
}

function memberCard(frame: Known, { userId, name, email, permissions, since }: Member): Html {
  const { members: words } = frame.speech.words.people;
  const you = userId === frame.me.user.id;
  return html`<li id="member-${userId}" class="card" tabindex="-1">
    <h2>${name}${you ? html` <small>${words.you}</small>` : ""}</h2>
    <p class="account">${email}</p>
    <p class="muted">${words.since(frame.speech.day(since))}</p>
    ${permissionList(frame, permissions)}
    <details>
      <summary aria-label="${words.changeOf(name)}">${words.change}</summary>
      <form method="post" action="/people/${userId}">
        ${permissionBoxes(frame, permissions, frame.me.permissions, words.may)}
        <div class="row actions">
          <button>${words.save}</button
          ><a class="button danger" href="/people/${userId}/remove" aria-label="${words.removeOf(name)}"
            >${words.remove}</a
          >
        </div>
      </form>
    </details>
  </li>`;
}

function invitationCard(frame: Known, { id, email, permissions, expiresAt }: Invitation): Html {
  const { invitations: words } = frame.speech.words.people;
  return html`<li class="card">
    <h3>${email}</h3>
    <p class="muted">${words.until(frame.speech.day(expiresAt))}</p>
    ${permissionList(frame, permissions)}
    <form method="post" action="/people/invitations/${id}/revoke">
      <button class="danger" aria-label="${words.revokeOf(email)}">${words.revoke}</button>
    </form>
  </li>`;
}

/** Before it happens. */
export function removePage(frame: Known, { userId, name, email }: Member): Html {
  const { remove: words } = frame.speech.words.people;
  return layout(
    frame,
    words.title(name),
    html`<h1>${words.title(name)}</h1>
      <p class="account">${email}</p>
      <p class="lead">${words.lead}</p>
      <form method="post" action="/people/${userId}/remove">
        <div class="row actions">
          <a class="button" href="/people#member-${userId}">${words.cancel}</a
          ><button class="danger">${words.go}</button>
        </div>
      </form>`,
  );
}

/** The answer to inviting: the one place and time where the link is shown. */
export function invitedPage(frame: Known, { email, link, mailed }: MadeInvitation): Html {
  const { invited: words } = frame.speech.words.people;
  return layout(
    frame,
    words.title(email),
    html`<h1>${words.title(email)}</h1>
      <p class="lead">${mailed ? words.mailed : words.notMailed} ${words.once}</p>
      <div class="entry">
        <label for="link">${words.link}</label>
        <input id="link" class="mono" readonly value="${link}" />
      </div>
      <p><a class="button" href="/people#invitations">${words.back}</a></p>`,
  );
}
