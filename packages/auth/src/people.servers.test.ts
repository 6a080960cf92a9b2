import { randomUUID } from "node:crypto";
import { type Database, migrate, openPostgres, type Queryable, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPeople, makeFirstAdminLink, migrations, PERMISSIONS } from "./index.ts";
import { openSession } from "./open-session.ts";
import { readSession, switchSession } from "./session-rows.ts";

const now = new Date("2026-11-21T12:00:00Z");
const acme = { id: "acme", name: "Acme" };
/** Slow, so that those who do not wait for each other meet. */
const audit = (tx: Queryable) => run(tx, "SELECT pg_sleep(0.02)");
let server: PrivatePostgres;
let database: Database;
beforeAll(async () => {
  server = await startPrivatePostgres();
  database = openPostgres({ url: await server.createDatabase() });
  await migrate(database, [migrations]);
});
afterAll(async () => {
  await database.close();
  await server.stop();
});

const arrive = (name: string, ticket: string) =>
  openSession(database, {
    organization: acme,
    person: {
      issuer: "https://id.example.com",
      subject: name,
      name,
      email: `${name}@example.com`,
      emailVerified: true,
    },
    admits: false,
    ticket,
    previousToken: undefined,
    audit,
    now,
  });
const firstLink = () =>
  makeFirstAdminLink({ database, origin: "https://hub.example.com", organization: acme, audit, now: () => now });
const members = () => asOwner(database, (tx) => run(tx, "SELECT user_id, permissions FROM auth.membership"));
const ticketOf = (link: string): string => link.slice(-43);

it("what may happen once happens once, however many try at the same time", async () => {
  const links = await Promise.all(Array.from({ length: 8 }, () => firstLink()));
  const [link = "", ...more] = links.filter((one) => one !== undefined);
  expect(more).toEqual([]);

  const admins = await Promise.all(Array.from({ length: 12 }, (_, n) => arrive(`admin-${n}`, ticketOf(link))));
  const tokens = admins.flatMap((one) => ("token" in one ? [one.token] : []));
  expect([tokens.length, (await members()).length]).toEqual([1, 1]);
  const admin = await readSession(database, tokens[0] ?? "", now);
  if (admin === undefined) throw new Error("no session");

  const people = createPeople({ database, origin: "https://hub.example.com", audit, now: () => now, uuid: randomUUID });
  const actor = { organizationId: "acme", id: admin.userId, name: admin.name, permissions: PERMISSIONS };
  const invited = await people.invite(actor, { email: "grace@example.com", permissions: [...PERMISSIONS] });
  const graces = await Promise.all(Array.from({ length: 12 }, () => arrive("grace", ticketOf(invited.link))));
  const signedIn = graces.flatMap((one) => ("token" in one ? [one.token] : []));
  expect([signedIn.length, (await members()).length]).toEqual([1, 2]);
  const grace = await readSession(database, signedIn[0] ?? "", now);
  if (grace === undefined) throw new Error("no session");

  const globex = await people.createOrganization(grace.userId, "Globex");
  const switched = await Promise.all(
    Array.from({ length: 12 }, () =>
      switchSession(database, { token: signedIn[0] ?? "", organizationId: globex.id, now }),
    ),
  );
  expect(switched.filter((one) => one !== undefined)).toHaveLength(1);

  const again = await people.invite({ ...actor, organizationId: globex.id }, { email: admin.email, permissions: [] });
  const accepted = await Promise.allSettled(
    Array.from({ length: 12 }, () => people.acceptInvitation(admin, ticketOf(again.link))),
  );
  expect(accepted.filter(({ status }) => status === "fulfilled")).toHaveLength(1);

  // Each takes the other's right at the same moment: one of them keeps managing.
  const both = [admin.userId, grace.userId];
  const ends = await Promise.allSettled(
    both.map((id, index) => people.setPermissions({ ...actor, id }, both[1 - index] ?? "", ["integrations.view"])),
  );
  expect(ends.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect((await people.members("acme")).filter(({ permissions }) => permissions.length === 3)).toHaveLength(1);
});
