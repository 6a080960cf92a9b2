import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { every } from "./every.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a chore", () => {
  it("has one turn at a time: what is due meanwhile is left out", async () => {
    const turns: (() => void)[] = [];
    const stop = every(() => new Promise<void>((resolve) => turns.push(resolve)), { everyMs: 100, onError: () => {} });
    await vi.advanceTimersByTimeAsync(99);
    expect(turns).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(turns).toHaveLength(1);
    turns[0]?.();
    await vi.advanceTimersByTimeAsync(100);
    expect(turns).toHaveLength(2);
    turns[1]?.();
    await stop();
  });

  it("comes again after a turn that failed, at once or later, and says with what", async () => {
    const failures: unknown[] = [];
    let turn = 0;
    const fail = (): Promise<void> => {
      turn++;
      if (turn === 1) throw new Error("at once");
      return Promise.reject(new Error("later"));
    };
    const stop = every(fail, { everyMs: 100, onError: (error) => failures.push(String(error)) });
    await vi.advanceTimersByTimeAsync(250);
    expect(failures).toEqual(["Error: at once", "Error: later"]);
    await stop();
  });

  it("that is stopped ends the turn under way, and begins none", async () => {
    let [turns, ended] = [0, false];
    let end = (): void => {};
    const chore = async (): Promise<void> => {
      turns++;
      await new Promise<void>((resolve) => (end = resolve));
      ended = true;
    };
    const stop = every(chore, { everyMs: 100, onError: () => {} });
    await vi.advanceTimersByTimeAsync(100);
    const stopped = stop().then(() => ended);
    await vi.advanceTimersByTimeAsync(1_000);
    expect([turns, ended]).toEqual([1, false]);
    end();
    expect(await stopped).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(turns).toBe(1);
  });

  it("that does not end keeps nobody from stopping for longer than the bound", async () => {
    const stop = every(() => new Promise(() => {}), { everyMs: 100, onError: () => {}, stopMsMax: 5_000 });
    await vi.advanceTimersByTimeAsync(100);
    let stopped = false;
    const stopping = stop().then(() => (stopped = true));
    await vi.advanceTimersByTimeAsync(4_999);
    expect(stopped).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await stopping;
    expect(vi.getTimerCount()).toBe(0);
  });
});
