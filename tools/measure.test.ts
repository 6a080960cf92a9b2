import { expect, it } from "vitest";
import { type Bench, type Figures, measure } from "./measure.ts";

const bench = (figures: readonly Figures[]): Bench => {
  let call = 0;
  return {
    name: "example",
    unit: "events/s",
    repeats: figures.length - 1,
    run: async () => figures[call++] ?? { ours: 0, ceiling: 0 },
  };
};

it("throws the warm-up away and gives medians and the spread of the ratio", async () => {
  const runs = [1, 40, 10, 30, 20].map((ours) => ({ ours, ceiling: 100 }));
  expect(await measure(bench(runs), () => {})).toEqual({
    name: "example",
    unit: "events/s",
    ours: 25,
    ceiling: 100,
    ratio: 0.25,
    ratioMin: 0.1,
    ratioMax: 0.4,
    runs: 4,
  });
});

it("takes the ratio of each run, so that noise which both figures share does not show", async () => {
  const runs = [1, 1, 10, 0.1].map((noise) => ({ ours: 50 * noise, ceiling: 100 * noise }));
  expect(await measure(bench(runs), () => {})).toMatchObject({ ratio: 0.5, ratioMin: 0.5, ratioMax: 0.5 });
});

it.each([
  [{ of: "ratio", atLeast: 0.5 }, true],
  [{ of: "ratio", atLeast: 0.6 }, false],
  [{ of: "ours", atMost: 50 }, true],
  [{ of: "ours", atMost: 49 }, false],
] as const)("says whether the goal %j is reached: %s", async (goal, reached) => {
  const figures = { ours: 50, ceiling: 100 };
  expect(await measure({ ...bench([figures, figures]), goal }, () => {})).toMatchObject({ goal, reached });
});

it.each([
  [{ ours: 0, ceiling: 1 }],
  [{ ours: 1, ceiling: 0 }],
  [{ ours: Number.NaN, ceiling: 1 }],
  [{ ours: Number.POSITIVE_INFINITY, ceiling: 1 }],
])("refuses %j, which measured nothing", async (figures) => {
  await expect(measure(bench([figures, figures]), () => {})).rejects.toThrow("example measured");
});
