import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createTestingTrees, plant, TASK, TASK_EVENTS, type TestingTrees } from "../contracts/testing-tree.ts";
import { checkContracts } from "./contracts.ts";

// Every case starts buf four times, and other tests share the cores.
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

const edit = (file: string, from: string | RegExp, to: string): void => plant(root, file, from, to);
const findings = async (): Promise<string> => (await checkContracts(root)).findings.join("\n");

/** Every planted file stays in the image; only its place, its package or both differ. */
function moveTask(to: string, packageName: string): void {
  if (to !== TASK) {
    mkdirSync(join(root, to, ".."), { recursive: true });
    renameSync(join(root, TASK), join(root, to));
    edit(TASK_EVENTS, "tributary/task/v1/task.proto", to.replace(/^proto\//, ""));
  }
  if (packageName === "tributary.task.v1") return;
  edit(to, "package tributary.task.v1;", `package ${packageName};`);
  edit(TASK_EVENTS, /^ {2}Task task = 1;$/gm, `  ${packageName}.Task task = 1;`);
}

describe("the contracts gate", () => {
  it("is content with what was released", async () => {
    expect(await checkContracts(root)).toEqual({
      seen: "4 event types, 4 released payloads, 0 consumers",
      findings: [],
      warnings: [],
    });
  });

  it("lets a field and an event be added", async () => {
    edit(TASK, /^message Due \{/m, "message Due {\n  // Whether the day is certain.\n  bool certain = 50;\n");
    edit(
      TASK_EVENTS,
      /$/,
      '\n// A task moved.\nmessage TaskMoved {\n  option (tributary.options.v1.event_subject) = "task.moved";\n\n  // Its id.\n  string task_id = 1;\n}\n',
    );
    writeFileSync(join(root, "proto/examples/tributary.task.v1.TaskMoved.json"), '{ "taskId": "8" }');
    const said = (await checkContracts(root)).findings;
    expect(said.filter((finding) => !finding.includes("npm run generate"))).toEqual([]);
    // Code, catalogue and pages of both files.
    expect(said.map((finding) => finding.split(": ")[0])).toEqual([
      "docs/events/README.md",
      "docs/events/asyncapi.json",
      "docs/events/task.v1.md",
      "packages/contracts/src/gen/catalogue.json",
      "packages/contracts/src/gen/catalogue.ts",
      "packages/contracts/src/gen/tributary/task/v1/task_events_pb.ts",
      "packages/contracts/src/gen/tributary/task/v1/task_pb.ts",
    ]);
  });

  it.each([
    ["a field is deleted", TASK, /^ {2}string rule = 1;$/m, "", /Previously present field "1".*breaks/],
    ["a type is changed", TASK, /^ {2}string rule = 1;$/m, "  bytes rule = 1;", /changed type.*breaks/],
    [
      "a field is repeated",
      TASK,
      /^ {2}string rule = 1;$/m,
      "  repeated string rule = 1;",
      /changed cardinality.*breaks/,
    ],
    [
      "a field is renumbered",
      TASK,
      /^ {2}string rule = 1;$/m,
      "  string rule = 9;",
      /Previously present field "1".*breaks/,
    ],
    ["a field is renamed", TASK, /^ {2}string rule = 1;$/m, "  string pattern = 1;", /changed name.*breaks/],
    ["an enum value is deleted", TASK, /^ {2}PRIORITY_HIGH = 3;$/m, "", /Previously present enum value "3".*breaks/],
    ["an enum value is renamed", TASK, /PRIORITY_HIGH/, "PRIORITY_BIG", /Enum value "3".*changed name.*breaks/],
    ["a message is renamed", TASK, /Recurrence\b/g, "Repetition", /Previously present message "Recurrence".*breaks/],
    ["an event is deleted", TASK_EVENTS, /^\/\/ A task was deleted[^}]*\}\n/m, "", /message "TaskDeleted".*breaks/],
    ["an enum loses its zero", TASK, /^ {2}PRIORITY_UNSPECIFIED = 0;$/m, "", /first value.*zero|zero value/i],
    ["an enum's zero says something", TASK, /PRIORITY_UNSPECIFIED/, "PRIORITY_LOWEST", /suffixed with "_UNSPECIFIED"/],
    ["a field loses its comment", TASK, /^ {2}\/\/ The rule in the provider's words.*\n/m, "", /comment/],
    ["a message loses its comment", TASK, /^\/\/ How a task repeats\.\n/m, "", /Message "Recurrence".*comment/],
    [
      "an event moves to another subject",
      TASK_EVENTS,
      "task.deleted",
      "task.removed",
      /TaskDeleted.*"task.removed".*breaks/,
    ],
    [
      "an event is none any more",
      TASK_EVENTS,
      /^ {2}option .*task\.deleted.*$/m,
      "",
      /TaskDeleted: is no event.*breaks/,
    ],
    ["two events share a subject", TASK_EVENTS, "task.reopened", "task.deleted", /TaskReopened: shares the subject/],
    ["a subject has three tokens", TASK_EVENTS, "task.reopened", "task.re.opened", /is not "<object>\.<verb>"/],
    [
      "personal data loses its mark",
      TASK,
      /(string title = 2) \[.*\];/,
      "$1;",
      /Task\.title: no longer marked as personal/,
    ],
  ])("refuses that %s", async (_, file, from, to, finding) => {
    edit(file, from, to);
    expect(await findings()).toMatch(finding);
  });

  it.each([
    [
      "a file moves",
      "proto/tributary/task/v1/work.proto",
      "tributary.task.v1",
      /file "tributary\/task\/v1\/task.proto" was deleted|message "Task".*deleted/,
    ],
    [
      "a package moves",
      "proto/tributary/workforce/v1/task.proto",
      "tributary.workforce.v1",
      /task\.proto" was deleted|"Task".*deleted/,
    ],
    [
      "a package is not its folder",
      TASK,
      "tributary.workforce.v1",
      /package "tributary.workforce.v1" must be within a directory/,
    ],
  ])("refuses that %s", async (_, to, packageName, finding) => {
    moveTask(to, packageName);
    expect(await findings()).toMatch(finding);
  });

  it.each([
    ["code", "packages/contracts/src/gen/tributary/task/v1/task_pb.ts"],
    ["the catalogue", "packages/contracts/src/gen/catalogue.json"],
    ["the AsyncAPI document", "docs/events/asyncapi.json"],
    ["a page", "docs/events/task.v1.md"],
  ])("notices that %s was edited, lost, or comes from nowhere", async (_, file) => {
    const stray = file.replace(/(\.\w+)$/, "-old$1");
    edit(file, /$/, "\n// by hand\n");
    writeFileSync(join(root, stray), "");
    const said = [file, stray].map((each) => `${each}: not what proto/ says; "npm run generate" writes it`);
    expect((await checkContracts(root)).findings.toSorted()).toEqual(said.toSorted());
    rmSync(join(root, file));
    expect((await checkContracts(root)).findings.toSorted()).toEqual(said.toSorted());
  });

  it("notices a comment that the catalogue does not tell yet", async () => {
    edit(TASK, "Ordinary.", "As urgent as most.");
    expect(await findings()).toMatch(/docs\/events\/task\.v1\.md: not what proto\/ says/);
  });
});

describe("released payloads", () => {
  const DELETED = "proto/golden/1.0.0/tributary.task.v1.TaskDeleted";

  it("are noticed when they mean something else now", async () => {
    edit(`${DELETED}.json`, "task_id", "task-id");
    expect((await checkContracts(root)).findings).toEqual([
      expect.stringContaining("decodes to something else"),
      expect.stringContaining("encodes to other bytes"),
    ]);
  });

  it("are noticed when one is taken away, made anew or put beside them", async () => {
    rmSync(join(root, `${DELETED}.binpb`));
    expect(await findings()).toBe(`${DELETED}.binpb: was released and is gone`);
    writeFileSync(join(root, `${DELETED}.binpb`), "");
    expect(await findings()).toMatch(`${DELETED}.binpb: is not what was released`);
    root = trees.copy();
    const stray = DELETED.replace("1.0.0", "0.9.0");
    mkdirSync(join(root, "proto/golden/0.9.0"));
    for (const ending of ["binpb", "json"])
      writeFileSync(join(root, `${stray}.${ending}`), readFileSync(join(root, `${DELETED}.${ending}`)));
    expect(await findings()).toBe(`${stray}.binpb: belongs to no release in proto/golden/releases.json`);
  });

  it("are noticed when there is nothing to compare with", async () => {
    rmSync(join(root, "proto/baseline.binpb"));
    rmSync(join(root, "proto/golden"), { recursive: true });
    expect(await findings()).toMatch(/baseline\.binpb: missing[^]*proto\/golden: no released payload/);
  });

  it("come with a baseline that only a release moves", async () => {
    edit(TASK, /^ {2}string rule = 1;$/m, "  bytes rule = 1;");
    const { command } = await import("../command.ts");
    await command("buf", ["build", "--exclude-source-info", "-o", "proto/baseline.binpb"], { cwd: root });
    expect(await findings()).toMatch("proto/baseline.binpb: is not what 1.0.0 left");
  });
});

describe("an example", () => {
  const EXAMPLE = "proto/examples/tributary.task.v1.TaskDeleted.json";

  it.each([
    ["that names no field", '{ "task": "8" }', /unknown/],
    ["whose value has another type", '{ "taskId": 8 }', /expected string/],
    ["that comes back differently", '{ "task_id": "8" }', /comes back as {"taskId":"8"}/],
    ["that shows nothing", "{}", /shows nothing/],
    ["that is not JSON", "{", /JSON/],
  ])("%s is refused", async (_, text, finding) => {
    writeFileSync(join(root, EXAMPLE), text);
    const said = (await checkContracts(root)).findings.filter((each) => each.startsWith(EXAMPLE));
    expect(said).toEqual([expect.stringMatching(finding)]);
  });

  it("is missed, and so is its event", async () => {
    renameSync(join(root, EXAMPLE), join(root, EXAMPLE.replace("Deleted", "Gone")));
    expect(await findings()).toMatch(/TaskDeleted\.json: missing[^]*TaskGone\.json: no such event/);
  });
});
