import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
}, 60_000);
afterAll(() => trees.end());
beforeEach(() => {
  root = trees.copy();
});

const text = (file: string): string => readFileSync(join(root, file), "utf8");

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
    expect(await releaseContracts(root, "1.1.0", false)).toEqual({
      version: "1.1.0",
      eventTypes: 5,
      changes: expect.toSatisfy(
        (changes: string[]) => JSON.stringify(changes.toSorted()) === JSON.stringify(ADDED.toSorted()),
      ) as string[],
    });
    expect(await checkContracts(root)).toMatchObject({
      findings: [],
      seen: "5 event types, 9 released payloads, 0 consumers",
    });
    const [, newest = "", first = ""] = text("proto/CHANGELOG.md").split("\n## ");
    expect(newest.split("\n").slice(0, 2)).toEqual(["1.1.0", ""]);
    for (const line of ADDED) expect(newest).toContain(`- ${line}\n`);
    expect(first).toMatch(/^1\.0\.0\n\n- new file `tributary\/options/);
    expect(text("CHANGELOG.md").match(/^(## |- ).*$/gm)).toEqual([
      "## 1.1.0",
      "- Contracts 1.1.0: 5 event types.",
      "## 1.0.0",
      "- Contracts 1.0.0: 4 event types.",
    ]);
    expect(text("docs/events/README.md")).toMatch(/TaskMoved.*\| 1\.1\.0 \|/);
    expect(text("docs/events/README.md")).toMatch(/TaskDeleted.*\| 1\.0\.0 \|/);
    // From now on what was added is a promise as well.
    plant(root, TASK, /^ {2}bool certain = 50;$/m, "  string certain = 50;");
    expect((await checkContracts(root)).findings.join("\n")).toMatch(/changed type.*breaks/);
  });

  it("can be done again while nobody has used it", async () => {
    await addThings();
    await releaseContracts(root, "1.1.0", false);
    plant(root, TASK, /^ {2}bool certain = 50;$/m, "  bool certain = 50;\n  // How certain.\n  string degree = 51;");
    await generateContracts(root);
    await releaseContracts(root, "1.1.0", true);
    expect((await checkContracts(root)).findings).toEqual([]);
    for (const line of [...ADDED, "new field `tributary.task.v1.Due.degree` (`string`)"])
      expect(text("proto/CHANGELOG.md").split("\n## ")[1]).toContain(`- ${line}\n`);
    expect(text("CHANGELOG.md").match(/Contracts 1\.1\.0/g)).toHaveLength(1);
  });

  it.each([
    ["the same version", "1.0.0", false, "1.0.0 was released already"],
    ["an older version", "0.9.0", false, "0.9.0 is not newer than 1.0.0"],
    ["another version again", "1.1.0", true, "only the newest release, 1.0.0, can be done again"],
    ["a word", "next", false, "not a version"],
  ])("refuses %s", async (_, version, replace, message) => {
    await expect(releaseContracts(root, version, replace)).rejects.toThrow(message);
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
    const before = [
      text("proto/golden/releases.json"),
      text("CHANGELOG.md"),
      readFileSync(join(root, "proto/baseline.binpb")),
    ];
    await expect(releaseContracts(root, "1.1.0", false)).rejects.toThrow(message);
    expect([
      text("proto/golden/releases.json"),
      text("CHANGELOG.md"),
      readFileSync(join(root, "proto/baseline.binpb")),
    ]).toEqual(before);
    expect(existsSync(join(root, "proto/golden/1.1.0"))).toBe(false);
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
