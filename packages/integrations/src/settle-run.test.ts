import { TaskChangedSchema } from "@tributary/contracts";
import {
  type Connector,
  ClientInvalid,
  ContractViolation,
  CursorExpired,
  RateLimited,
  ReauthRequired,
  Rejected,
  Retryable,
} from "@tributary/sdk";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LeaseLost } from "./commit.ts";
import type { ConnectionRow } from "./schema.ts";
import { backoffMs, judge } from "./settle-run.ts";

const POLL_MS = 300_000;
const connector = {
  id: "demo",
  scopes: [],
  manifest: { pollIntervalMs: POLL_MS, events: [TaskChangedSchema] },
} as unknown as Connector;
const row = (failures: number) => ({ failures, state: "connected" }) as ConnectionRow;
const half = (): number => 0.5;

describe("what a run's end means", () => {
  it.each([
    [new Retryable("x"), "retryable", "error", true],
    [new RateLimited("x"), "rate_limited", "error", true],
    [new ClientInvalid("x"), "oauth_client_invalid", "error", true],
    [new ReauthRequired("x"), "reauth_required", "expired", false],
    [new CursorExpired("x"), "cursor_expired", "syncing", true],
    [new ContractViolation("x"), "contract_violation", "error", false],
    [new Rejected("x"), "contract_violation", "error", false],
    [new TypeError("x"), "bug", "error", true],
    ["not even an error", "bug", "error", true],
  ])("obeys %s", (error, outcome, state, again) => {
    const verdict = judge(connector, row(0), { error, interrupted: false }, half);
    expect(verdict).toMatchObject({ outcome, state });
    expect(verdict.nextMs !== undefined).toBe(again);
    expect(verdict.dropCursor ?? false).toBe(outcome === "cursor_expired");
  });

  it("polls again after a run that came to its end, spread by a tenth", () => {
    expect(judge(connector, row(3), { error: undefined, interrupted: false }, half)).toMatchObject({
      outcome: "ok",
      state: "connected",
      failures: 0,
      nextMs: POLL_MS,
    });
    const spread = [0, 0.999].map(
      (random) => judge(connector, row(0), { error: undefined, interrupted: false }, () => random).nextMs ?? 0,
    );
    expect(spread[0]).toBe(POLL_MS * 0.95);
    expect(spread[1]).toBeLessThan(POLL_MS * 1.05);
  });

  it("waits as long as the provider asked", () => {
    const verdict = judge(
      connector,
      row(0),
      { error: new RateLimited("x", { retryAfterMs: 900_000 }), interrupted: false },
      half,
    );
    expect(verdict.nextMs).toBe(900_000);
  });

  it("tries a connector's bug three times more and then stops", () => {
    const next = [0, 1, 2, 3, 4].map(
      (failures) =>
        judge(connector, row(failures), { error: new Error("bug"), interrupted: false }, half).nextMs !== undefined,
    );
    expect(next).toEqual([true, true, true, false, false]);
  });

  it("does not hold a shutdown against the connection", () => {
    expect(judge(connector, row(2), { error: new Error("aborted"), interrupted: true }, half)).toMatchObject({
      outcome: "interrupted",
      state: "unchanged",
      nextMs: 0,
      failures: 2,
    });
  });

  it("does not hold it against the connection that the process stood still for longer than its lease", () => {
    expect(judge(connector, row(2), { error: new LeaseLost(), interrupted: false }, half)).toMatchObject({
      outcome: "lease_lost",
      state: "unchanged",
      nextMs: 0,
      failures: 2,
    });
  });

  it("does not loop on a cursor that expires every time", () => {
    expect(judge(connector, row(0), { error: new CursorExpired("x"), interrupted: false }, half).nextMs).toBe(0);
    expect(
      judge(connector, row(1), { error: new CursorExpired("x"), interrupted: false }, half).nextMs,
    ).toBeGreaterThan(0);
  });

  it("shows people a reason that quotes no more than 300 characters", () => {
    const { reason } = judge(connector, row(0), { error: new Retryable("y".repeat(1000)), interrupted: false }, half);
    expect(reason?.message).toHaveLength(300);
    expect(
      judge(connector, row(0), { error: new Error("token=abc"), interrupted: false }, half).reason?.message,
    ).not.toContain("abc");
  });

  it("backs off exponentially, with jitter, to an hour at most", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (failures, random) => {
          const ms = backoffMs(failures, () => random);
          expect(ms).toBeGreaterThanOrEqual(1000);
          expect(ms).toBeLessThanOrEqual(3_600_000);
        },
      ),
    );
    expect(backoffMs(5, half)).toBeGreaterThan(backoffMs(4, half));
  });
});
