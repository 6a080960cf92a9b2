import { describe, expect, it } from "vitest";
import { repositoryRoot, textOf } from "./tree.ts";

interface Shown {
  readonly file: string;
  readonly title: string;
}
interface Row {
  readonly id: string;
  readonly tests: readonly Shown[];
}

const page = textOf(repositoryRoot, "docs/THREATS.md") ?? "";
const [threats = "", notBuilt = ""] = page.split(/^## Not built$/m);
const rows: readonly Row[] = [...threats.matchAll(/^\| (T\d\d) \|.*\| (.*) \|$/gm)].map(([, id = "", shown = ""]) => ({
  id,
  tests: [...shown.matchAll(/`([^`]+) › ([^`]+)`/g)].map(([, file = "", title = ""]) => ({ file, title })),
}));
const named = rows.flatMap(({ id, tests }) => tests.map((test) => ({ id, ...test })));

/** `it`, `test` or `describe`, a table of its own perhaps, then the title and what it does. */
function hasTest(text: string, title: string): boolean {
  const quoted = title.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  const call = new RegExp(
    String.raw`[)\w]\(\s*(["'` + "`" + String.raw`])${quoted}\1,\s*(?:async\b|\(|\{|[a-z]\w*(?:\(|\s*=>))`,
  );
  return /\b(?:it|test|describe)\b/.test(text) && call.test(text.replaceAll(/\\(["'`])/g, "$1"));
}

describe("docs/THREATS.md", () => {
  it("tells of every threat once, as shown or as not built", () => {
    const later = [...notBuilt.matchAll(/^\| (T\d\d) \|/gm)].map(([, id = ""]) => id);
    const told = [...rows.map(({ id }) => id), ...later].toSorted();
    expect(told.length).toBeGreaterThanOrEqual(64);
    expect(told).toEqual(told.map((_, index) => `T${String(index + 1).padStart(2, "0")}`));
  });

  it("leaves no threat without a test", () => {
    expect(rows.length).toBeGreaterThan(50);
    expect(rows.filter(({ tests }) => tests.length === 0)).toEqual([]);
  });

  it.each(named)("$id: $file has a test of the name “$title”", ({ file, title }) => {
    const text = textOf(repositoryRoot, file);
    expect(text).toBeDefined();
    expect(hasTest(text ?? "", title)).toBe(true);
  });
});

describe("a test's name", () => {
  const file =
    'import { it } from "vitest";\nit.each([["a", 1]])("holds %s", async () => {});\nit("is \\"x\\"", () => {});\n';
  it.each([
    ["holds %s", true],
    ['is "x"', true],
    ["holds", false],
    ["a", false],
    ["vitest", false],
  ])("%s is found in a file that has it: %s", (title, found) => {
    expect(hasTest(file, title)).toBe(found);
    expect(hasTest(`// it("${title}", () => {})`.replace("(", "["), title)).toBe(false);
  });
});
