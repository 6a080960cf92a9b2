import type { Database } from "@tributary/db";
import { expect, it } from "vitest";
import { healthRoutes } from "./health.ts";

/** A database whose statements end as they are told. */
const answering = (answer: () => Promise<unknown[]>): Database =>
  ({ query: { _: { session: { client: { unsafe: answer } } } } }) as unknown as Database;

it.each([
  ["answers", () => Promise.resolve([]), 200, { status: "ready" }],
  ["refuses", () => Promise.reject(new Error("no")), 503, { status: "unavailable", failing: ["database"] }],
  ["is waited for", () => new Promise<never>(() => {}), 503, { status: "unavailable", failing: ["database"] }],
])("readiness is told within two seconds when the database %s", async (_, answer, status, body) => {
  const since = performance.now();
  const told = await healthRoutes({ database: answering(answer) }).request("/readyz");
  expect({ status: told.status, body: await told.json() }).toEqual({ status, body });
  // On a machine that has them. Without a limit it would not be told at all.
  expect(performance.now() - since).toBeLessThan(10_000);
});
