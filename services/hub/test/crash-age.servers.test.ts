import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openWorld, type World } from "../crash/world.ts";

const compiled = mkdtempSync(join(tmpdir(), "tributary-crash-age-"));
const opened: (() => Promise<unknown>)[] = [];
let postgres: PrivatePostgres;
let world: World;

beforeAll(async () => {
  postgres = await startPrivatePostgres();
  world = await openWorld({ postgres, opened, compiled, windowMs: 400, accounts: ["a1"] });
});
afterAll(async () => {
  for (const close of opened.toReversed()) await close();
  await postgres.stop();
  rmSync(compiled, { recursive: true, force: true });
});

/** A claim takes long enough for its process to die meanwhile. */
const SLOW_CLAIMS = [
  "CREATE FUNCTION crash.slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$",
  `CREATE TRIGGER slowly BEFORE UPDATE ON integrations.connection FOR EACH ROW
    WHEN (NEW.lease_token <> OLD.lease_token) EXECUTE FUNCTION crash.slowly()`,
];

const CLAIMING = `
SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`;

const HELD = "SELECT FROM integrations.connection WHERE lease_until > now()";
const CLAIMED = "SELECT FROM integrations.connection WHERE lease_token > 0";

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const started = performance.now(); performance.now() - started < 50_000; await sleep(10))
    if (await condition()) return;
  expect.fail("it did not come to that");
}

it("lets a lease pass that was granted to a process that had died", async () => {
  for (const statement of SLOW_CLAIMS) await world.ask(statement);
  const worker = world.start("commit", ["commit"]);
  await until(async () => (await world.ask(CLAIMING)).length > 0);
  await worker.kill();
  await world.age(["commit"]);
  expect(await world.ask(CLAIMED), "the claim was granted").toHaveLength(1);
  expect(await world.ask(HELD), "to nobody").toHaveLength(0);
});
