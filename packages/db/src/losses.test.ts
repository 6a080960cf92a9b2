import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createLosses } from "./losses.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("gives up what has no answer five seconds after a connection was lost, and not before", async () => {
  const losses = createLosses();
  let ended = "";
  losses.bounded(new Promise(() => {})).catch((error: Error) => (ended = error.name));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ended).toBe("");
  losses.lost();
  await vi.advanceTimersByTimeAsync(4_999);
  losses.lost();
  expect(ended).toBe("");
  await vi.advanceTimersByTimeAsync(1);
  expect(ended).toBe("TransactionLost");
});

it("leaves alone what ends by itself, and what began afterwards", async () => {
  const losses = createLosses();
  const answer = Promise.withResolvers<string>();
  const before = losses.bounded(answer.promise);
  losses.lost();
  const after = losses.bounded(new Promise<string>((resolve) => setTimeout(() => resolve("late"), 20_000)));
  answer.resolve("in time");
  expect(await before).toBe("in time");
  await vi.advanceTimersByTimeAsync(20_000);
  expect(await after).toBe("late");
  await expect(losses.bounded(Promise.reject(new Error("its own")))).rejects.toThrow("its own");
});
