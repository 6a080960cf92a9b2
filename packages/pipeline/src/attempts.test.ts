import { describe, expect, it } from "vitest";
import { ATTEMPTS_MAX, createAttempts } from "./attempts.ts";

const sent = (sequence: number) => ({ connectionId: "a", sequence: BigInt(sequence), replayId: "", redrive: 0 });

describe("attempts", () => {
  it("count each event until it is settled, a replay and a redriven letter apart", () => {
    const attempts = createAttempts();
    expect([attempts.next(sent(1)), attempts.next(sent(1)), attempts.next(sent(2))]).toEqual([1, 2, 1]);
    expect(attempts.next({ ...sent(1), replayId: "r" })).toBe(1);
    expect(attempts.next({ ...sent(1), redrive: 1 })).toBe(1);
    attempts.settled(sent(1));
    expect([attempts.next(sent(1)), attempts.next(sent(2))]).toEqual([1, 2]);
  });

  it("forget the oldest when nobody says that they were settled", () => {
    const attempts = createAttempts();
    for (let sequence = 1; sequence <= ATTEMPTS_MAX; sequence++) attempts.next(sent(sequence));
    attempts.next(sent(1));
    for (let sequence = 1; sequence <= 10; sequence++) attempts.next(sent(ATTEMPTS_MAX + sequence));
    expect(attempts.size).toBe(ATTEMPTS_MAX);
    expect([attempts.next(sent(1)), attempts.next(sent(2))]).toEqual([3, 1]);
  });
});
