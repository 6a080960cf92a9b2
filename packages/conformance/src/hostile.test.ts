import type { Database } from "@tributary/db";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ConformanceFailure } from "./check.ts";
import { checks } from "./checks/checks.ts";
import { openStage, openStageDatabase } from "./stage.ts";
import { runCheck } from "./test-connector.ts";
import { hostileConnectors } from "./testing/hostile-connectors.ts";
import { sampleAdapter } from "./testing/sample-connector.ts";
import { sampleProvider } from "./testing/sample-provider.ts";

let database: Database;
let elsewhere: Server;
beforeAll(async () => {
  database = await openStageDatabase();
  elsewhere = createServer((_request, response) => response.end("{}"));
  await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  elsewhere.closeAllConnections();
  await new Promise((resolve) => elsewhere.close(resolve));
  await database.close();
});

it.each(hostileConnectors)('finds a connector that $defect, in "$foundBy"', async ({ foundBy, make }) => {
  const check = checks.find(({ name }) => name === foundBy);
  if (check === undefined) throw new Error(`there is no check "${foundBy}"`);
  const origin = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
  const stage = await openStage(make(origin), sampleProvider, sampleAdapter, { database });
  try {
    const failure: unknown = await runCheck(check, stage).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConformanceFailure);
    expect(String(failure)).toMatch(/→ ./);
  } finally {
    await stage.close();
  }
});

/** Kept by the runtime, whatever a connector does; or one row of a table that another row proves. */
const BEYOND_A_CONNECTOR =
  /^a state serves once|^a declined consent|^an access token that|^a forged webhook|^a \d{3} |^a connection that breaks /;

it("has a connector that fails for every check that a connector can fail", () => {
  const found = new Set(hostileConnectors.map(({ foundBy }) => foundBy));
  expect(checks.map(({ name }) => name).filter((name) => !found.has(name) && !BEYOND_A_CONNECTOR.test(name))).toEqual(
    [],
  );
});
