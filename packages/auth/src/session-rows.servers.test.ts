import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { afterAll, beforeAll, expect, it } from "vitest";
import { migrations } from "./migrations.ts";
import { openSession } from "./open-session.ts";
import { readSession, sweepSessions } from "./session-rows.ts";

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

it("makes one administrator and one user a person, however many arrive at once", async () => {
  const now = new Date("2026-11-21T12:00:00Z");
  const arrive = (subject: string) =>
    openSession(database, {
      organization: { id: "sample", name: "Sample" },
      person: {
        issuer: "https://id.example.com",
        subject,
        name: subject,
        email: "shared@example.com",
        emailVerified: false,
      },
      admits: true,
      ticket: undefined,
      previousToken: undefined,
      audit: async () => {},
      now,
    });
  const subjects = Array.from({ length: 24 }, (_, index) => `person-${index % 6}`);
  const tokens = (await Promise.all(subjects.map(arrive))).map((opened) => ("token" in opened ? opened.token : ""));
  const people = await Promise.all(tokens.map((token) => readSession(database, token, now)));
  const byId = new Map(people.map((person) => [person?.userId, person]));
  expect([byId.size, people.map((person) => person?.name)]).toEqual([6, subjects]);
  expect([...byId.values()].filter((person) => person?.permissions.length === 3)).toHaveLength(1);
  expect([...byId.values()].filter((person) => person?.permissions.length === 1)).toHaveLength(5);
  expect(await asOwner(database, (tx) => run(tx, `SELECT count(*) AS n FROM auth."user"`))).toEqual([{ n: 6n }]);
  expect(await sweepSessions(database, new Date(now.getTime() + 31 * 86_400_000))).toBe(24);
});
