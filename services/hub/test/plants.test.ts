import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { PLANT_TRIALS } from "../crash/plant-trials.ts";
import { planted, PLANTS } from "../crash/plants.ts";
import { POINTS } from "../crash/points.ts";
import { amountsOf, ROUNDS, trialsOf } from "../crash/trials.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const textOf = (file: string): string => readFileSync(join(root, file), "utf8");

describe("a planted bug of the crash harness", () => {
  it.each(PLANTS.map((plant) => [plant.id, plant] as const))("%s still finds its place in the code", (_id, plant) => {
    const text = textOf(plant.file);
    expect(planted(plant, text)).not.toBe(text);
  });

  it("is refused when its place is gone or there twice", () => {
    const [plant] = PLANTS;
    if (plant === undefined) throw new Error("there are no plants");
    expect(() => planted(plant, "something else")).toThrow("0 times");
    expect(() => planted(plant, plant.find + plant.find)).toThrow("2 times");
  });

  it("has a name of its own, and there are fifteen at least, in relay, commit and subscriber", () => {
    expect(new Set(PLANTS.map(({ id }) => id)).size).toBe(PLANTS.length);
    expect(PLANTS.length).toBeGreaterThanOrEqual(15);
    expect(new Set(PLANTS.map(({ file }) => file.split("/")[1]))).toEqual(
      new Set(["pipeline", "integrations", "subscriber"]),
    );
  });

  it("has a trial, and every trial has a bug", () => {
    expect(new Set(PLANTS.map(({ trial }) => trial))).toEqual(new Set(Object.keys(PLANT_TRIALS)));
  });
});

describe("a point of the crash harness", () => {
  const sources = globSync("{packages/*/src,services/hub/crash}/**/*.ts", { cwd: root })
    .filter((file) => !file.endsWith("points.ts"))
    .map(textOf);

  it.each(
    POINTS.flatMap(({ name, statement, transaction }) => {
      const pattern = statement ?? transaction;
      // Built by Drizzle, or with the name of a table put in: their text stands nowhere.
      return pattern === undefined || name === "commit.cursor" || pattern.source.includes("crash\\.inbox")
        ? []
        : [[name, pattern] as const];
    }),
  )("%s is told by a statement that the code still has", (_name, pattern) => {
    expect(sources.filter((text) => pattern.test(text)).length).toBeGreaterThan(0);
  });

  it("is come to in one world at least, at each of its moments", () => {
    const reached = Object.values(trialsOf(amountsOf(ROUNDS))).flatMap(({ reaches = [] }) => reaches);
    const names = POINTS.flatMap(({ name, moments }) => moments.map((moment) => `${name}/${moment}`));
    expect(new Set(reached.map(({ point, moment }) => `${point}/${moment}`))).toEqual(new Set(names));
  });

  it("is one of twelve at least, before and after", () => {
    expect(POINTS.length).toBeGreaterThanOrEqual(12);
    for (const { moments } of POINTS) expect(moments).toEqual(expect.arrayContaining(["before", "after"]));
  });
});

it("is told of in docs/RELIABILITY.md, every point and every planted bug", () => {
  const page = textOf("docs/RELIABILITY.md");
  const missing = [...POINTS.map(({ name }) => name), ...PLANTS.map(({ id }) => id)].filter(
    (name) => !page.includes(`| \`${name}\` |`),
  );
  expect(missing).toEqual([]);
});

it("does by default what was promised, and a fifth of it where time is short", () => {
  expect(amountsOf(ROUNDS)).toMatchObject({ brokerKills: 200, rollBacks: 10, deletions: 5, databaseCrashes: 50 });
  expect(amountsOf(40)).toMatchObject({
    brokerKills: 40,
    rollBacks: 2,
    deletions: 1,
    databaseCrashes: 10,
    outages: 1,
    freezes: 1,
  });
});
