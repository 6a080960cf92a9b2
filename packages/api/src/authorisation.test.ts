import { expect, it } from "vitest";
import { createApi } from "./api.ts";
import { ACCESS } from "./authorisation.ts";

/** Only what routes are made of: nothing is asked. With simulated providers there are more. */
const api = createApi({ triggers: {} } as Parameters<typeof createApi>[0]);

it("has a rule for every route that is mounted, and for no other", () => {
  const mounted = api.routes.filter(({ method }) => method !== "ALL").map(({ method, path }) => `${method} ${path}`);
  expect(mounted.length).toBeGreaterThan(20);
  expect(Object.keys(ACCESS).toSorted()).toEqual([...new Set(mounted)].toSorted());
});

it("lets nobody past without being known but providers, whose signature is their proof", () => {
  expect(Object.keys(ACCESS).filter((route) => ACCESS[route] === "public")).toEqual([
    "POST /webhooks/:integration/:contextId",
  ]);
});
