import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { THING } from "../contracts/testing-thing.ts";
import { createTestingTrees, plant, TASK, TASK_EVENTS, type TestingTrees } from "../contracts/testing-tree.ts";
import { checkContracts } from "./contracts.ts";

// Every case starts buf four times, and other tests share the cores.
vi.setConfig({ testTimeout: 30_000 });

const OPTIONS = "proto/tributary/options/v1/options.proto";
const RULE = /^ {2}string rule = 1;$/m;

let trees: TestingTrees;
let root = "";
beforeAll(async () => {
  trees = await createTestingTrees();
});
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
      seen: "5 event types, 5 released payloads, 0 consumers",
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

  // What was released: where it stands, what is wrong, whom it hurts, what to do, and buf's own name for it.
  it.each([
    ["a field is deleted", TASK, RULE, "", /field "1" with name "rule".*was deleted/],
    ["a type is changed", TASK, RULE, "  bytes rule = 1;", /changed type from "string" to "bytes"/],
    ["a field is repeated", TASK, RULE, "  repeated string rule = 1;", /changed cardinality/],
    ["a field is made optional", TASK, RULE, "  optional string rule = 1;", /changed cardinality/],
    [
      "a field moves into a oneof",
      TASK,
      RULE,
      "  // Of two.\n  oneof of_two {\n    // A rule.\n    string rule = 1;\n  }",
      /inside a oneof/,
    ],
    ["a field is renumbered", TASK, RULE, "  string rule = 9;", /field "1".*was deleted/],
    [
      "a field is renamed",
      TASK,
      RULE,
      "  string pattern = 1;",
      /changed name from "rule" to "pattern".*Give it its name back/,
    ],
    [
      "a field is renamed in JSON",
      TASK,
      RULE,
      '  string rule = 1 [json_name = "pattern"];',
      /"json_name".*Give it its name back/,
    ],
    ["an enum value is deleted", TASK, /^ {2}PRIORITY_HIGH = 3;$/m, "", /enum value "3".*was deleted/],
    ["an enum value is renumbered", TASK, "PRIORITY_HIGH = 3;", "PRIORITY_HIGH = 7;", /enum value "3".*was deleted/],
    ["an enum value is renamed", TASK, "PRIORITY_HIGH", "PRIORITY_BIG", /Enum value "3".*changed name/],
    [
      "two enum values change places",
      TASK,
      /(PRIORITY_MEDIUM = )2(;\n.*\n {2}PRIORITY_HIGH = )3/,
      "$13$22",
      /Enum value "2".*changed name/,
    ],
    ["a message is renamed", TASK, /Recurrence\b/g, "Repetition", /message "Recurrence" was deleted/],
  ])("refuses that %s, in one line that says it all", async (_, file, from, to, finding) => {
    edit(file, from, to);
    const [said = ""] = (await checkContracts(root)).findings.filter((each) => finding.test(each));
    expect(said).toMatch(finding);
    expect(said).toMatch(/^proto\/tributary\/task\/v1\/task\.proto:\d+: /);
    expect(said).toMatch(
      / Breaks subscribers of TaskChanged, TaskCompleted, TaskReopened\. (Put|Take|Give) .*\. \[[A-Z_]+\]$/,
    );
  });

  it.each([
    ["is optional no longer", "optional string note", "string note", /changed cardinality/],
    ["leaves its oneof", /oneof choice \{([^}]*)\}/, "$1", /oneof "choice".*was deleted/],
    ["has its oneof renamed", "oneof choice", "oneof pick", /"number" on message "ThingHappened" moved from oneof/],
    [
      "is packed no longer",
      "many = 10;",
      "many = 10 [packed = false];",
      /ThingHappened has JSON that encodes to other bytes/,
    ],
    [
      "holds another type in its map",
      "map<string, int32>",
      "map<string, int64>",
      /"value" on message "CountsEntry" changed type/,
    ],
    [
      "has another key in its map",
      "map<string, int32>",
      "map<int32, int32>",
      /"key" on message "CountsEntry" changed type/,
    ],
    ["is a list instead of a map", "map<string, Part>", "repeated Part", /changed cardinality from "map"/],
    ["may have a number that was reserved", "reserved 9, 12 to 14", "reserved 12 to 14", /missing values: \[9\]/],
    ["may have a number of a range that was reserved", "12 to 14", "12 to 13", /missing values: \[14\]/],
    [
      "may have a name that was reserved",
      /^ {2}reserved "old_word";$/m,
      "",
      /reserved name "old_word".*stays so for ever/,
    ],
    ["may have an enum's number that was reserved", /^ {4}reserved 7;$/m, "", /on enum "Mood" is missing values/],
    ["may have an enum's name that was reserved", /^ {4}reserved "MOOD_OLD";$/m, "", /reserved name "MOOD_OLD"/],
    [
      "is no longer marked as personal data, in a message inside a message",
      / \[\(tributary.options.v1.personal_data\) = true\]/,
      "",
      /Part\.owner is no longer marked as personal data\. Breaks subscribers of ThingHappened/,
    ],
    [
      "belongs to a method that is deleted",
      /^ {2}\/\/ Gets one\.\n.*\n/m,
      "",
      /RPC "GetThing".*was deleted\. Breaks callers of ThingService/,
    ],
    [
      "belongs to a method that streams no longer",
      "returns (stream W",
      "returns (W",
      /from server streaming to server unary\. Breaks callers of ThingService\. .*new method/,
    ],
    [
      "belongs to a service that is renamed",
      "service ThingService",
      "service ObjectService",
      /service "ThingService" was deleted.*Breaks callers of ThingService/,
    ],
  ])("refuses that something %s", async (_, from, to, finding) => {
    edit(THING, from, to);
    expect(await findings()).toMatch(finding);
  });

  it.each([
    [
      "an event is deleted",
      TASK_EVENTS,
      /^\/\/ A task was deleted[^}]*\}\n/m,
      "",
      /message "TaskDeleted".*Breaks subscribers of TaskDeleted/,
    ],
    ["an enum loses its zero", TASK, /^ {2}PRIORITY_UNSPECIFIED = 0;$/m, "", /first value.*zero|zero value/i],
    ["an enum's zero says something", TASK, /PRIORITY_UNSPECIFIED/, "PRIORITY_LOWEST", /suffixed with "_UNSPECIFIED"/],
    ["a field loses its comment", TASK, /^ {2}\/\/ The rule in the provider's words.*\n/m, "", /Field "rule".*comment/],
    ["a message loses its comment", TASK, /^\/\/ How a task repeats\.\n/m, "", /Message "Recurrence".*comment/],
    ["an enum value loses its comment", TASK, /^ {2}\/\/ Above ordinary\.\n/m, "", /"PRIORITY_MEDIUM".*comment/],
    ["a oneof loses its comment", THING, /^ {2}\/\/ One of two\.\n/m, "", /Oneof "choice".*comment/],
    ["a method loses its comment", THING, /^ {2}\/\/ Gets one\.\n/m, "", /RPC "GetThing".*comment/],
    [
      "a package loses its comment",
      THING,
      /^\/\/ Things, for a test\.\n/m,
      "",
      /thing\.proto: no file of the package tributary\.thing\.v1 has a comment/,
    ],
    [
      "a comment speaks to buf",
      TASK,
      "// How a task repeats.",
      "// buf:lint:ignore COMMENT_MESSAGE\n// How.",
      /task\.proto: a comment says "buf:lint:"/,
    ],
    [
      "a reserved number is used",
      THING,
      "string title = 6;",
      "string title = 6;\n  // New.\n  string new = 9;",
      /reserved field number/,
    ],
    [
      "an event moves to another subject",
      TASK_EVENTS,
      "task.deleted",
      "task.removed",
      /^proto\/tributary\/task\/v1\/task_events\.proto:\d+: TaskDeleted is published as "task\.removed"; it was released as "task\.deleted"\. Breaks subscribers/m,
    ],
    [
      "an event is none any more",
      TASK_EVENTS,
      /^ {2}option .*task\.deleted.*$/m,
      "",
      /TaskDeleted is no event any more/,
    ],
    ["two events share a subject", TASK_EVENTS, "task.reopened", "task.deleted", /TaskReopened shares the subject/],
    ["a subject has three tokens", TASK_EVENTS, "task.reopened", "task.re.opened", /is not "<object>\.<verb>"/],
    [
      "a mark of personal data says no",
      TASK,
      /(string title = 2 \[.*)true\];/,
      "$1false];",
      /task\.proto:\d+: Task\.title is no longer marked as personal data\. Breaks subscribers of TaskChanged/,
    ],
    [
      "an option has another number",
      OPTIONS,
      "51002",
      "51003",
      /options\.proto: the option tributary\.options\.v1\.event_subject is string 51003.*released as string 51002/,
    ],
    ["an option has another type", OPTIONS, "bool personal_data", "string personal_data", /task\.proto:\d+/],
  ])("refuses that %s", async (_, file, from, to, finding) => {
    edit(file, from, to);
    expect(await findings()).toMatch(finding);
  });

  it("refuses a package that subjects and pages could not name", async () => {
    mkdirSync(join(root, "proto/elsewhere/v1"), { recursive: true });
    writeFileSync(
      join(root, "proto/elsewhere/v1/e.proto"),
      'syntax = "proto3";\n\n// Elsewhere.\npackage elsewhere.v1;\n',
    );
    expect(await findings()).toBe(
      'proto/elsewhere/v1/e.proto: the package "elsewhere.v1" is not named tributary.<domain>.v<n>',
    );
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
    expect(await findings()).toBe(
      `${DELETED}.binpb: was released and is gone; "git restore proto/golden" brings it back`,
    );
    writeFileSync(join(root, `${DELETED}.binpb`), "");
    expect(await findings()).toMatch(`${DELETED}.binpb: is not what was released`);
    root = trees.copy();
    const stray = DELETED.replace("1.0.0", "0.9.0");
    mkdirSync(join(root, "proto/golden/0.9.0"));
    for (const ending of ["binpb", "json"])
      writeFileSync(join(root, `${stray}.${ending}`), readFileSync(join(root, `${DELETED}.${ending}`)));
    expect(await findings()).toBe(`${stray}.binpb: belongs to no release in proto/golden/releases.json; delete it`);
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
