import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { merge } from "./merge.ts";

async function* counts(name: string, many: number, closed: string[] = [], pauseMs = 0): AsyncGenerator<string> {
  try {
    for (let n = 1; n <= many; n++) {
      if (pauseMs > 0) await sleep(pauseMs);
      yield `${name}${n}`;
    }
  } finally {
    closed.push(name);
  }
}

/** Silent until the signal. */
async function* silent(signal: AbortSignal, closed: string[]): AsyncGenerator<string> {
  try {
    await sleep(60_000, undefined, { signal }).catch(() => {});
    yield* [];
  } finally {
    closed.push("silent");
  }
}

const forever = new AbortController().signal;
const numbered = (name: string, many: number): string[] => Array.from({ length: many }, (_, n) => `${name}${n + 1}`);

describe("merged sources", () => {
  it("give every value once, each source's in its order, and end with the last", async () => {
    const heard: string[] = [];
    const open = () => [counts("a", 1_000), counts("b", 300), counts("c", 0)];
    for await (const value of merge(forever, open, () => {})) heard.push(value);
    for (const [name, many] of [
      ["a", 1_000],
      ["b", 300],
    ] as const)
      expect(heard.filter((value) => value.startsWith(name))).toEqual(numbered(name, many));
    expect(heard).toHaveLength(1_300);
  });

  it("read no more than a little ahead", async () => {
    let read = 0;
    async function* endless(): AsyncGenerator<number> {
      for (;;) yield ++read;
    }
    const merged = merge(
      forever,
      () => [endless()],
      () => {},
    );
    for (let turn = 0; turn < 10; turn++) {
      await merged.next();
      await sleep(1);
    }
    expect(read).toBeLessThan(600);
    await merged.return(undefined);
  });

  it("are closed when one fails, after what came before it", async () => {
    const closed: string[] = [];
    async function* failing(): AsyncGenerator<string> {
      yield "before";
      throw new Error("away");
    }
    const heard: string[] = [];
    const reading = (async () => {
      for await (const value of merge(
        forever,
        (signal) => [silent(signal, closed), failing()],
        () => {},
      ))
        heard.push(value);
    })();
    await expect(reading).rejects.toThrow("away");
    expect([heard, closed]).toEqual([["before"], ["silent"]]);
  });

  it("are closed when nobody reads on, and what was read ahead is given up", async () => {
    const [closed, back]: [string[], string[]] = [[], []];
    const heard: string[] = [];
    const open = (signal: AbortSignal) => [counts("a", 50, closed), silent(signal, closed)];
    for await (const value of merge(forever, open, (given) => back.push(given))) {
      heard.push(value);
      await sleep(2);
      if (heard.length === 3) break;
    }
    expect(closed.toSorted()).toEqual(["a", "silent"]);
    expect([...heard, ...back]).toEqual(numbered("a", 50).slice(0, heard.length + back.length));
    expect(back.length).toBeGreaterThan(0);
  });
});
