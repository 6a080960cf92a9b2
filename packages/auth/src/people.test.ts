import { hash, randomUUID } from "node:crypto";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type Actor,
  createPeople,
  type InvitationMail,
  makeAdminLink,
  makeFirstAdminLink,
  migrations,
  type People,
  type PeopleAuditEntry,
  PERMISSIONS,
  type Permission,
  type UserIdentity,
} from "./index.ts";
import { type OpenSession, openSession } from "./open-session.ts";
import { readSession, switchSession } from "./session-rows.ts";

const DAY_MS = 86_400_000;
const ORIGIN = "https://hub.example.com";
const acme = { id: "acme", name: "Acme" };
let database: Database;
let now: Date;
let people: People;
let audited: PeopleAuditEntry[];
let mails: InvitationMail[];

beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(() => database.close());
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, `TRUNCATE auth.organization, auth."user" CASCADE`));
  now = new Date("2026-11-21T12:00:00Z");
  [audited, mails] = [[], []];
  people = createPeople({ database, origin: ORIGIN, audit, mail, now: () => now, uuid: randomUUID });
});

const audit = async (_tx: unknown, entry: PeopleAuditEntry): Promise<void> => void audited.push(entry);
const mail = async (sent: InvitationMail): Promise<boolean> => mails.push(sent) > 0;

const arrive = (name: string, change: Partial<OpenSession> & { verified?: boolean; email?: string } = {}) =>
  openSession(database, {
    organization: acme,
    person: {
      issuer: "https://id.example.com",
      subject: name,
      name,
      email: change.email ?? `${name}@example.com`,
      emailVerified: change.verified ?? true,
    },
    admits: false,
    ticket: undefined,
    previousToken: undefined,
    audit,
    now,
    ...change,
  });

/** Signs in, or fails the test. */
async function signIn(
  name: string,
  change: Parameters<typeof arrive>[1] = {},
): Promise<UserIdentity & { token: string }> {
  const opened = await arrive(name, change);
  if (!("token" in opened)) throw new Error(opened.turnedAway);
  const identity = await readSession(database, opened.token, now);
  if (identity === undefined) throw new Error("no session");
  return { ...identity, token: opened.token };
}

const adminLink = () => makeAdminLink({ database, origin: ORIGIN, organization: acme, audit, now: () => now });
const ticketOf = (link: string): string => /(?:ticket|token)=([\w-]{43})$/.exec(link)?.[1] ?? "";
const firstAdmin = async () => signIn("ada", { ticket: ticketOf(await adminLink()) });
const actorOf = ({ organizationId, userId, name, permissions }: UserIdentity): Actor => ({
  organizationId,
  id: userId,
  name,
  permissions,
});
const invite = async (admin: UserIdentity, email: string, permissions: readonly Permission[] = ["integrations.view"]) =>
  people.invite(actorOf(admin), { email, permissions });
const code = (expected: string) => expect.objectContaining({ code: expected });

describe("the first administrator", () => {
  const first = () => makeFirstAdminLink({ database, origin: ORIGIN, organization: acme, audit, now: () => now });

  it("comes by a link that is made once, and works once", async () => {
    const link = (await first()) ?? "";
    expect(link).toMatch(/^https:\/\/hub\.example\.com\/signin\?ticket=[\w-]{43}$/);
    expect(await first()).toBeUndefined();
    expect(await arrive("ada")).toEqual({ turnedAway: "not-invited" });
    expect((await signIn("ada", { ticket: ticketOf(link) })).permissions).toEqual(PERMISSIONS);
    expect(await arrive("mallory", { ticket: ticketOf(link) })).toEqual({ turnedAway: "link-ended" });
    expect(await first()).toBeUndefined();
    expect(audited.map(({ action }) => action)).toEqual(["administrator.link_made", "administrator.joined"]);
  });

  it("has 24 hours; a new link ends the one before, and lets somebody back in who lost every permission", async () => {
    const old = ticketOf(await adminLink());
    const link = ticketOf(await adminLink());
    expect(await arrive("ada", { ticket: old })).toEqual({ turnedAway: "link-ended" });
    now = new Date(now.getTime() + DAY_MS);
    expect(await arrive("ada", { ticket: link })).toEqual({ turnedAway: "link-ended" });
    const ada = await firstAdmin();
    await asOwner(database, (tx) => run(tx, "UPDATE auth.membership SET permissions = '{}'"));
    const again = await firstAdmin();
    expect([again.userId, again.permissions]).toEqual([ada.userId, PERMISSIONS]);
  });

  it("is stored as a hash alone, and nothing is kept of whoever is turned away", async () => {
    const ticket = ticketOf(await adminLink());
    await arrive("stranger");
    await arrive("stranger", { ticket: "x".repeat(43) });
    const tables = ["organization", '"user"', "identity", "admin_link", "invitation"];
    const rows = await asOwner(database, async (tx) => {
      const all: unknown[] = [];
      for (const table of tables) all.push(await run(tx, `SELECT * FROM auth.${table}`));
      return JSON.stringify(all);
    });
    expect(rows).toContain(hash("sha256", ticket, "hex"));
    expect(rows).not.toContain(ticket);
    expect(rows).not.toContain("stranger");
  });
});

describe("an invitation", () => {
  it("lets a stranger in who proves its address, once, with its permissions", async () => {
    const ada = await firstAdmin();
    const { link, mailed, invitation } = await invite(ada, " Grace@Example.com ", [
      "integrations.view",
      "integrations.manage",
    ]);
    expect([mailed, mails]).toEqual([
      true,
      [{ to: "grace@example.com", organizationName: "Acme", invitedBy: "ada", link, expiresAt: invitation.expiresAt }],
    ]);
    expect(await people.readInvitation(ticketOf(link))).toMatchObject({ id: "acme", name: "Acme" });
    const grace = await signIn("grace", { ticket: ticketOf(link) });
    expect([grace.organizationId, grace.permissions]).toEqual(["acme", ["integrations.view", "integrations.manage"]]);
    expect(await arrive("grace", { ticket: ticketOf(link) })).toEqual({ turnedAway: "link-ended" });
    await expect(people.readInvitation(ticketOf(link))).rejects.toEqual(code("invitation_ended"));
    expect(await people.invitations("acme")).toEqual([]);
    expect(audited.slice(-2)).toEqual([
      { organizationId: "acme", action: "invitation.made", actor: ada.userId, detail: `${invitation.id} manage+view` },
      {
        organizationId: "acme",
        action: "member.joined",
        actor: grace.userId,
        userId: grace.userId,
        detail: `${invitation.id} manage+view`,
      },
    ]);
    expect(JSON.stringify(audited)).not.toContain("@");
  });

  it.each([
    ["another address", { email: "mallory@example.com" }],
    ["an address nobody vouches for", { verified: false }],
    ["an address that only looks alike", { email: "grace@examp\u{13A5}le.com" }],
    ["none", { email: "" }],
  ])("is not for %s, and is still there for the right person", async (_what, change) => {
    const ada = await firstAdmin();
    const ticket = ticketOf((await invite(ada, "grace@example.com")).link);
    expect(await arrive("grace", { ticket, ...change })).toEqual({ turnedAway: "other-address" });
    expect((await signIn("grace", { ticket })).organizationId).toBe("acme");
  });

  it("ends after 7 days, when revoked, and when the address is invited again", async () => {
    const ada = await firstAdmin();
    const first = await invite(ada, "grace@example.com");
    const second = await invite(ada, "grace@example.com");
    now = new Date(now.getTime() + 1000);
    const other = await invite(ada, "alan@example.com");
    expect((await people.invitations("acme")).map(({ email }) => email)).toEqual([
      "grace@example.com",
      "alan@example.com",
    ]);
    await people.revokeInvitation(actorOf(ada), other.invitation.id);
    await expect(people.revokeInvitation(actorOf(ada), other.invitation.id)).rejects.toEqual(code("not_found"));
    for (const link of [first.link, other.link])
      await expect(people.readInvitation(ticketOf(link))).rejects.toEqual(code("invitation_ended"));
    now = new Date(now.getTime() + 7 * DAY_MS);
    expect(await arrive("grace", { ticket: ticketOf(second.link) })).toEqual({ turnedAway: "link-ended" });
  });

  it("is accepted by somebody who is signed in elsewhere, who keeps that", async () => {
    const ada = await firstAdmin();
    const globex = await people.createOrganization(ada.userId, "Globex & Söhne");
    expect(globex).toEqual({
      id: expect.stringMatching(/^globex-so-hne-[0-9a-f]{10}$/),
      name: "Globex & Söhne",
      permissions: PERMISSIONS,
    });
    const there = { ...ada, organizationId: globex.id };
    const grace = await signIn("grace", { ticket: ticketOf((await invite(there, "grace@example.com")).link) });
    const { link } = await invite(ada, "grace@example.com");
    const mallory = await signIn("mallory", { ticket: ticketOf((await invite(ada, "mallory@example.com")).link) });
    await expect(people.acceptInvitation(mallory, ticketOf(link))).rejects.toEqual(code("invitation_other_address"));
    expect(await people.acceptInvitation(grace, ticketOf(link))).toMatchObject({ id: "acme", name: "Acme" });
    await expect(people.acceptInvitation(grace, ticketOf(link))).rejects.toEqual(code("invitation_ended"));
    expect((await people.organizations(grace.userId)).map(({ id }) => id)).toEqual(["acme", globex.id]);
  });

  it("gives nobody what the inviter does not have, and shows its link though no mail leaves", async () => {
    const ada = await firstAdmin();
    const limited = { ...ada, permissions: ["integrations.view", "integrations.manage"] } as const;
    await expect(invite(limited, "x@example.com", ["integrations.credentials"])).rejects.toEqual(
      code("permission_not_held"),
    );
    const silent = createPeople({ database, origin: ORIGIN, audit, now: () => now, uuid: randomUUID });
    const failing = createPeople({
      database,
      origin: ORIGIN,
      audit,
      mail: () => Promise.reject(new Error("away")),
      now: () => now,
      uuid: randomUUID,
    });
    for (const one of [silent, failing])
      expect(await one.invite(actorOf(ada), { email: "x@example.com", permissions: [] })).toMatchObject({
        mailed: false,
      });
  });

  it("is not made when 500 are open", async () => {
    const ada = await firstAdmin();
    await asOwner(database, (tx) => run(tx, FIVE_HUNDRED));
    await expect(invite(ada, "one-more@example.com")).rejects.toEqual(code("limit_reached"));
    expect(await people.invitations("acme")).toHaveLength(500);
  });

  it("is not made when it cannot be recorded", async () => {
    const ada = await firstAdmin();
    const unheard = createPeople({
      database,
      origin: ORIGIN,
      audit: () => Promise.reject(new Error("no audit")),
      now: () => now,
      uuid: randomUUID,
    });
    await expect(unheard.invite(actorOf(ada), { email: "x@example.com", permissions: [] })).rejects.toThrow("no audit");
    await expect(unheard.createOrganization(ada.userId, "Globex")).rejects.toThrow("no audit");
    expect([await people.invitations("acme"), (await people.members("acme")).length]).toEqual([[], 1]);
  });
});

describe("a member", () => {
  const join = async (admin: UserIdentity, name: string, permissions: readonly Permission[] = ["integrations.view"]) =>
    signIn(name, { ticket: ticketOf((await invite(admin, `${name}@example.com`, permissions)).link) });

  it("is shown to its own organisation", async () => {
    const ada = await firstAdmin();
    await join(ada, "grace");
    const elsewhere = await people.createOrganization(ada.userId, "Globex");
    expect((await people.members("acme")).map(({ name, email }) => [name, email])).toEqual([
      ["ada", "ada@example.com"],
      ["grace", "grace@example.com"],
    ]);
    expect((await people.members(elsewhere.id)).map(({ name }) => name)).toEqual(["ada"]);
    expect(await people.members("nobody")).toEqual([]);
  });

  it("loses its sessions with the membership, here alone, and does not come back by itself", async () => {
    const ada = await firstAdmin();
    const grace = await join(ada, "grace");
    const globex = await people.createOrganization(grace.userId, "Globex");
    const there = await switchSession(database, { token: grace.token, organizationId: globex.id, now });
    const here = await signIn("grace", { previousToken: undefined });
    await people.removeMember(actorOf(ada), grace.userId);
    expect(await readSession(database, here.token, now)).toBeUndefined();
    expect((await readSession(database, there?.token ?? "", now))?.organizationId).toBe(globex.id);
    expect((await signIn("grace", { admits: true })).organizationId).toBe(globex.id);
    await expect(people.removeMember(actorOf(ada), grace.userId)).rejects.toEqual(code("not_found"));
  });

  it("is changed by somebody who has what is given or taken, and the last who manages stays", async () => {
    const ada = await firstAdmin();
    const grace = await join(ada, "grace", ["integrations.view", "integrations.manage"]);
    await expect(people.setPermissions(actorOf(grace), grace.userId, PERMISSIONS)).rejects.toEqual(
      code("permission_not_held"),
    );
    await expect(
      people.setPermissions(actorOf(grace), ada.userId, ["integrations.view", "integrations.manage"]),
    ).rejects.toEqual(code("permission_not_held"));
    await expect(people.removeMember(actorOf(grace), ada.userId)).rejects.toEqual(code("permission_not_held"));
    expect(await people.setPermissions(actorOf(ada), grace.userId, ["integrations.view"])).toMatchObject({
      permissions: ["integrations.view"],
    });
    expect((await readSession(database, grace.token, now))?.permissions).toEqual(["integrations.view"]);
    await expect(people.setPermissions(actorOf(ada), ada.userId, ["integrations.view"])).rejects.toEqual(
      code("last_administrator"),
    );
    await expect(people.removeMember(actorOf(ada), ada.userId)).rejects.toEqual(code("last_administrator"));
    expect((await readSession(database, ada.token, now))?.permissions).toEqual(PERMISSIONS);
  });

  it("of another organisation cannot be touched or told from nobody", async () => {
    const ada = await firstAdmin();
    const globex = await people.createOrganization(ada.userId, "Globex");
    const grace = await join({ ...ada, organizationId: globex.id }, "grace");
    for (const userId of [grace.userId, randomUUID()]) {
      await expect(people.setPermissions(actorOf(ada), userId, [])).rejects.toEqual(code("not_found"));
      await expect(people.removeMember(actorOf(ada), userId)).rejects.toEqual(code("not_found"));
    }
    expect((await readSession(database, grace.token, now))?.organizationId).toBe(globex.id);
  });
});

describe("switching", () => {
  it("exchanges the session, keeps its end, and works for one's own organisations alone", async () => {
    const ada = await firstAdmin();
    const globex = await people.createOrganization(ada.userId, "Globex");
    for (const organizationId of ["nobody", ""])
      expect(await switchSession(database, { token: ada.token, organizationId, now })).toBeUndefined();
    now = new Date(now.getTime() + 3 * DAY_MS);
    const switched = await switchSession(database, { token: ada.token, organizationId: globex.id, now });
    expect(switched?.token).not.toBe(ada.token);
    expect(switched?.expiresAt).toEqual(new Date("2026-12-21T12:00:00Z"));
    expect(await readSession(database, ada.token, now)).toBeUndefined();
    expect((await readSession(database, switched?.token ?? "", now))?.organizationId).toBe(globex.id);
    expect(await switchSession(database, { token: ada.token, organizationId: "acme", now })).toBeUndefined();
    expect((await signIn("ada", { previousToken: switched?.token })).organizationId).toBe(globex.id);
    expect((await signIn("ada")).organizationId).toBe("acme");
  });
});

const FIVE_HUNDRED = `
INSERT INTO auth.invitation (id, organization_id, email, permissions, token_hash, invited_by, created_at, expires_at)
SELECT gen_random_uuid(), 'acme', n || '@example.com', '{}', encode(sha256(n::text::bytea), 'hex'), 'x', '2026-11-21', '2026-11-28'
FROM generate_series(1, 500) AS n`;
