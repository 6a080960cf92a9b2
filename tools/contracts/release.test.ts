import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { checkContracts } from "../checks/contracts.ts";
import { command } from "../command.ts";
import { exportContracts } from "./export.ts";
import { generateContracts } from "./generate.ts";
import { releaseContracts } from "./release.ts";
import { createTestingTrees, plant, TASK, TASK_EVENTS, type TestingTrees } from "./testing-tree.ts";

vi.setConfig({ testTimeout: 30_000 });

let trees: TestingTrees;
let root = "";
beforeAll(async () => {
  trees = await createTestingTrees();
});
afterAll(() => trees.end());
beforeEach(() => {
  root = trees.copy();
});

const text = (file: string): string => readFileSync(join(root, file), "utf8");

/** Every file below a folder, so that whatever was written shows. */
function contents(folder: string): Readonly<Record<string, string>> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).toSorted();
  return Object.fromEntries(paths.map((path) => [path.slice(folder.length), readFileSync(path, "base64")]));
}

/** One addition of each kind, so that the list of changes has something to tell. */
async function addThings(): Promise<void> {
  plant(root, TASK, /^message Due \{/m, "message Due {\n  // Whether the day is certain.\n  bool certain = 50;\n");
  plant(root, TASK, /^ {2}PRIORITY_URGENT = 4;$/m, "$&\n  // Higher still.\n  PRIORITY_NOW = 5;");
  plant(root, TASK, "string parent_id = 8;", "string parent_id = 8 [deprecated = true];");
  plant(
    root,
    TASK_EVENTS,
    /$/,
    '\n// A task moved.\nmessage TaskMoved {\n  option (tributary.options.v1.event_subject) = "task.moved";\n\n  // Where to.\n  Place place = 1;\n}\n\n// A place.\nmessage Place {\n  // Its id.\n  string id = 1;\n}\n',
  );
  writeFileSync(join(root, "proto/examples/tributary.task.v1.TaskMoved.json"), '{ "place": { "id": "8" } }');
  await generateContracts(root);
}

const ADDED = [
  "new field `tributary.task.v1.Due.certain` (`bool`)",
  "new value `PRIORITY_NOW` of `tributary.task.v1.Priority`",
  "deprecated: `tributary.task.v1.Task.parent_id`",
  "new event `tributary.task.v1.TaskMoved` on `task.moved`",
  "new message `tributary.task.v1.Place`",
];

describe("a release", () => {
  it("moves the baseline, keeps a payload of each event for ever, and lists what it added", async () => {
    await addThings();
    expect(await releaseContracts(root, "1.1.0")).toEqual({
      version: "1.1.0",
      eventTypes: 6,
      changes: expect.toSatisfy(
        (changes: string[]) => JSON.stringify(changes.toSorted()) === JSON.stringify(ADDED.toSorted()),
      ) as string[],
    });
    expect(await checkContracts(root)).toMatchObject({
      findings: [],
      seen: "6 event types, 11 released payloads, 0 consumers",
    });
    const [, newest = "", first = ""] = text("proto/CHANGELOG.md").split("\n## ");
    expect(newest.split("\n").slice(0, 2)).toEqual(["1.1.0", ""]);
    for (const line of ADDED) expect(newest).toContain(`- ${line}\n`);
    expect(first).toMatch(/^1\.0\.0\n\n- new file `tributary\/options/);
    expect(text("CHANGELOG.md").match(/^(## |- ).*$/gm)).toEqual([
      "## Unreleased",
      "- Contracts 1.1.0: 6 event types.",
      "- Contracts 1.0.0: 5 event types.",
    ]);
    expect(text("docs/events/README.md")).toMatch(/TaskMoved.*\| 1\.1\.0 \|/);
    expect(text("docs/events/README.md")).toMatch(/TaskDeleted.*\| 1\.0\.0 \|/);
    // From now on what was added is a promise as well.
    plant(root, TASK, /^ {2}bool certain = 50;$/m, "  string certain = 50;");
    expect((await checkContracts(root)).findings.join("\n")).toMatch(/changed type.*Breaks/);
  });

  it.each([
    ["the same version", "1.0.0", "1.0.0 was released already, and what was released stays"],
    ["an older version", "0.9.0", "0.9.0 is not newer than 1.0.0"],
    ["a word", "next", "not a version"],
    ["a version with a zero too many", "1.01.0", "not a version"],
    ["a release of nothing", "1.1.0", "nothing new since 1.0.0, comments aside"],
  ])("refuses %s, and leaves everything as it was", async (_, version, message) => {
    const before = contents(root);
    await expect(releaseContracts(root, version)).rejects.toThrow(message);
    expect(contents(root)).toEqual(before);
  });

  it("calls a better comment nothing new", async () => {
    plant(root, TASK, "Ordinary.", "As urgent as most.");
    await generateContracts(root);
    await expect(releaseContracts(root, "1.1.0")).rejects.toThrow("nothing new since 1.0.0");
  });

  it("tells that a field counts as personal data from now on", async () => {
    plant(root, TASK, "string parent_id = 8;", "string parent_id = 8 [(tributary.options.v1.personal_data) = true];");
    await generateContracts(root);
    const { changes } = await releaseContracts(root, "1.1.0");
    expect(changes).toEqual(["personal data from now on: `tributary.task.v1.Task.parent_id`"]);
  });

  it("stands among what is not released yet in the changelog for people who upgrade", async () => {
    const existing =
      "# Changelog\n\nFor people.\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.1.0\n\nThe first.\n";
    writeFileSync(join(root, "CHANGELOG.md"), existing);
    await addThings();
    await releaseContracts(root, "1.1.0");
    expect(text("CHANGELOG.md")).toBe(existing.replace("- A thing.", "- Contracts 1.1.0: 6 event types.\n- A thing."));
  });

  it.each([
    ["a broken promise", TASK, /^ {2}string rule = 1;$/m, "  bytes rule = 1;", /changed type/],
    ["a missing comment", TASK, /^\/\/ How a task repeats\.\n/m, "", /comment/],
    ["generated files that are old", TASK, "Ordinary.", "As urgent as most.", /npm run generate/],
    [
      "a payload that means something else",
      "proto/golden/1.0.0/tributary.task.v1.TaskDeleted.json",
      "task_id",
      "x",
      /decodes/,
    ],
  ])("is refused over %s, and leaves everything as it was", async (_, file, from, to, message) => {
    plant(root, file, from, to);
    const before = contents(root);
    await expect(releaseContracts(root, "1.1.0")).rejects.toThrow(message);
    expect(contents(root)).toEqual(before);
  });
});

describe("a release that was killed", () => {
  /** What it writes, in its order. */
  const STEPS = [
    ["proto/baseline.next.binpb", "proto/golden/1.1.0/tributary.task.v1.TaskChanged.binpb"],
    ["proto/golden/1.1.0", "proto/CHANGELOG.md", "CHANGELOG.md"],
    ["proto/golden/releases.json"],
    ["docs/events/task.v1.md"],
    ["docs/events", "packages/contracts/src/gen"],
  ] as const;

  /** The same release, to its end. */
  let whole = "";
  beforeAll(async () => {
    root = trees.copy();
    await addThings();
    whole = trees.copy();
    cpSync(root, whole, { recursive: true });
    await releaseContracts(whole, "1.1.0");
  });

  it.each(STEPS.keys().toArray())("after step %i is noticed, and done when it is tried again", async (step) => {
    await addThings();
    for (const path of STEPS.slice(0, step + 1).flat()) {
      const from = path === "proto/baseline.next.binpb" ? "proto/baseline.binpb" : path;
      cpSync(join(whole, from), join(root, path), { recursive: true });
    }
    expect((await checkContracts(root)).findings.join("\n")).toContain("a release was interrupted");
    // Whether it counts already or not, the next one does not pass over it.
    await expect(releaseContracts(root, "1.2.0")).rejects.toThrow(/interrupted|belongs to no release|tells of it/);
    expect(await releaseContracts(root, "1.1.0")).toMatchObject({ version: "1.1.0", eventTypes: 6 });
    expect(contents(root)).toEqual(contents(whole));
    expect((await checkContracts(root)).findings).toEqual([]);
  });
});

describe("an export", () => {
  const folder = mkdtempSync(join(tmpdir(), "tributary-export-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("holds all that another language needs, and nothing that points back", async () => {
    const target = join(folder, "released");
    expect(await exportContracts(root, target)).toEqual({ version: "1.0.0", unreleased: false });
    expect(readdirSync(target).toSorted()).toEqual([
      "asyncapi.json",
      "catalogue.json",
      "contracts.json",
      "proto",
      "tributary.binpb",
    ]);
    const golden = join(root, "proto/golden/1.0.0/tributary.task.v1.TaskCompleted");
    // Once from the sources, once from the descriptors alone.
    for (const schema of ["proto", "tributary.binpb"]) {
      const args = ["convert", schema, "--type", "tributary.task.v1.TaskCompleted", "--from", `${golden}.binpb`];
      const run = await command("buf", [...args, "--to", "-#format=json"], { cwd: target });
      expect(JSON.parse(run.output)).toEqual(JSON.parse(readFileSync(`${golden}.json`, "utf8")));
    }
  });

  it("says when it holds more than was released, and is never mixed with other files", async () => {
    await addThings();
    const target = join(folder, "ahead");
    expect(await exportContracts(root, target)).toEqual({ version: "1.0.0", unreleased: true });
    await expect(exportContracts(root, target)).rejects.toThrow("the folder is not empty");
  });
});
