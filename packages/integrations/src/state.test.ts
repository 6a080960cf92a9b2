import type { Connector } from "@tributary/sdk";
import { describe, expect, it } from "vitest";
import type { ConnectionRow, StoredState } from "./schema.ts";
import { shownState } from "./state.ts";

const now = new Date("2026-11-21T12:00:00Z");
const recently = new Date("2026-11-21T11:00:00Z");
const longAgo = new Date("2026-11-19T11:00:00Z");
const connector = { scopes: [{ id: "read" }, { id: "write" }], manifest: {} } as unknown as Connector;
const row = (state: StoredState, verifiedAt: Date) => ({ state, verifiedAt, createdAt: longAgo }) as ConnectionRow;

describe("the state that is shown", () => {
  it.each<[StoredState, readonly string[], Date, string]>([
    ["connected", ["read", "write"], recently, "connected"],
    ["syncing", ["read", "write"], recently, "syncing"],
    ["connected", ["read"], recently, "limited"],
    ["connected", ["read", "write"], longAgo, "stale"],
    ["syncing", ["read", "write"], longAgo, "stale"],
    ["connected", ["read"], longAgo, "limited"],
    ["error", ["read"], longAgo, "error"],
    ["expired", ["read"], longAgo, "expired"],
    ["paused", ["read"], longAgo, "paused"],
    ["disconnected", [], longAgo, "disconnected"],
  ])("%s with %j is %s", (state, granted, verifiedAt, shown) => {
    expect(shownState(row(state, verifiedAt), granted, connector, now)).toBe(shown);
  });

  it("takes the connector's own idea of stale", () => {
    const patient = { ...connector, manifest: { staleAfterMs: 7 * 86_400_000 } } as unknown as Connector;
    expect(shownState(row("connected", longAgo), ["read", "write"], patient, now)).toBe("connected");
  });
});
