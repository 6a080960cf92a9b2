import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { erasePeople, membershipsOf, migrations } from "./index.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(() => database.close());

const id = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;
const [ADA, BEN] = [id(1), id(2)];
const day = (n: number): string => `2026-11-0${n}T00:00:00Z`;
const hash = (n: number): string => String(n).repeat(64);

beforeEach(() =>
  asOwner(database, async (tx) => {
    for (const table of ["organization", '"user"']) await run(tx, `DELETE FROM auth.${table}`);
    for (const organization of ["acme", "globex"])
      await run(tx, "INSERT INTO auth.organization VALUES ($1, $1, $2)", [organization, day(1)]);
    for (const [n, name] of ["", "ada", "ben"].entries()) {
      if (n === 0) continue;
      await run(tx, `INSERT INTO auth."user" VALUES ($1, $2, $3, $4, $4, true)`, [
        id(n),
        name,
        `${name}@example.com`,
        day(1),
      ]);
      await run(tx, "INSERT INTO auth.identity VALUES ('https://id.example.com', $1, $2, $3)", [name, id(n), day(1)]);
      await run(tx, "INSERT INTO auth.membership VALUES ('acme', $1, '{integrations.view}', $2)", [id(n), day(2)]);
      await run(tx, "INSERT INTO auth.session VALUES ($1, 'acme', $2, $3, $3, $3)", [hash(n), id(n), day(2)]);
      await run(
        tx,
        "INSERT INTO auth.invitation (id, organization_id, email, permissions, token_hash, invited_by, created_at, expires_at) VALUES ($1, 'acme', $2, '{}', $3, 'x', $4, $4)",
        [id(n + 4), `${name}@example.com`, hash(n), day(2)],
      );
    }
    await run(tx, "INSERT INTO auth.membership VALUES ('globex', $1, '{integrations.view}', $2)", [BEN, day(2)]);
  }),
);

const left = async () => {
  const count = async (table: string) =>
    Number((await asOwner(database, (tx) => run<{ n: bigint }>(tx, `SELECT count(*) AS n FROM auth.${table}`)))[0]?.n);
  const tables = ["organization", '"user"', "identity", "membership", "session", "invitation"];
  return Object.fromEntries(
    await Promise.all(tables.map(async (table) => [table.replaceAll('"', ""), await count(table)])),
  );
};

it("forgets a person who belongs nowhere else, and nobody else", async () => {
  expect(await erasePeople(database, { organizationId: "acme", userId: ADA })).toBe(1);
  expect(await left()).toEqual({ organization: 2, user: 1, identity: 1, membership: 2, session: 1, invitation: 1 });
  expect(await erasePeople(database, { organizationId: "acme", userId: ADA })).toBe(0);
});

it("knows where somebody belongs", async () => {
  expect(await membershipsOf(database, BEN)).toEqual(["acme", "globex"]);
  expect(await membershipsOf(database, "auth0|somebody")).toEqual([]);
});

it("keeps the user of somebody who belongs to another organisation", async () => {
  expect(await erasePeople(database, { organizationId: "acme", userId: BEN })).toBe(0);
  expect(await left()).toEqual({ organization: 2, user: 2, identity: 2, membership: 2, session: 1, invitation: 1 });
});

it("takes an organisation out with everybody who belongs only there", async () => {
  expect(await erasePeople(database, { organizationId: "acme" })).toBe(1);
  expect(await left()).toEqual({ organization: 1, user: 1, identity: 1, membership: 1, session: 0, invitation: 0 });
});

it("spares whoever came after the moment that is named", async () => {
  expect(await erasePeople(database, { organizationId: "acme", userId: ADA }, new Date(day(1)))).toBe(0);
  expect((await left())["membership"]).toBe(3);
});

it("has nothing to do for somebody who signs in with a token of their own", async () => {
  expect(await erasePeople(database, { organizationId: "acme", userId: "auth0|somebody" })).toBe(0);
});
