import { expect, it } from "vitest";
import { proveDump } from "./prove-dump.ts";

/** PGlite runs one transaction at a time, so a sample stands for it here; `npm run prove:dump` gives it 1,000 as well. */
const DEPLOYMENTS = [
  { mode: "cluster", secrets: 1000, media: 10 },
  { mode: "embedded", secrets: 100, media: 4 },
] as const;
const LIMIT_MS = 180_000;

it.each(DEPLOYMENTS)(
  "$mode: whoever carries the data away finds none of $secrets secrets, and none of the vault's keys, in any spelling",
  async ({ mode, secrets, media }) => {
    const { planted, searched } = await proveDump({ secrets, mode });
    expect(planted.tokens + planted.integrationSecrets + planted.typedFields).toBe(secrets);
    expect(planted.used).toBeGreaterThan(0);
    expect(searched).toHaveLength(media);
    expect(searched.flatMap(({ medium, found }) => found.map((where) => `${medium}: ${where}`))).toEqual([]);
    // What was written in the clear on purpose is found in each: the search can find.
    expect(searched.filter(({ needle }) => needle.length === 0).map(({ medium }) => medium)).toEqual([]);
  },
  LIMIT_MS,
);
