import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { checkContracts } from "../checks/contracts.ts";
import { buf } from "./buf.ts";
import { CONSUMERS } from "./consumer-files.ts";
import { checkConsumers } from "./consumers.ts";
import { BASELINE, registryOf } from "./registry.ts";
import { THING } from "./testing-thing.ts";
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

const COMPLETED = "tributary.task.v1.TaskCompleted";
const HAPPENED = "tributary.thing.v1.ThingHappened";
const FILE = "proto/consumers/billing.json";
const BILLING = {
  consumer: "billing",
  owner: "payments@example.com",
  reads: {
    [COMPLETED]: ["task.title", "task.priority", "task.due.recurrence.rule", "completed_at"],
    "tributary.task.v1.TaskDeleted": [],
  },
};

function declare(consumer: object, folder = join(root, "proto/consumers"), name = "billing"): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(consumer));
}

/** What is said of consumers, without the rest of the gate: that buf refuses the same is looked at elsewhere. */
async function said(): Promise<readonly string[]> {
  const complaints = await buf(root, ["build", "-o", "image.binpb"]);
  if (complaints.length > 0) throw new Error(complaints.join("\n"));
  const [released, now] = [BASELINE, "image.binpb"].map((image) => registryOf(readFileSync(join(root, image))));
  if (now === undefined) throw new Error("there is no image");
  const { findings, warnings } = checkConsumers(root, released, now, [CONSUMERS]);
  return [...findings, ...warnings];
}

const BY = `${FILE}: billing (owner: payments@example.com) reads`;

describe("a consumer that says what it reads", () => {
  it("is counted, and content while nothing that it reads changes", async () => {
    declare(BILLING);
    plant(root, TASK, /^message Due \{/m, "message Due {\n  // Whether the day is certain.\n  bool certain = 50;\n");
    expect((await checkContracts(root)).seen).toMatch("1 consumer");
    expect(await said()).toEqual([]);
  });

  it("makes the gate red", async () => {
    declare(BILLING);
    plant(root, TASK, "string title = 2", "string summary = 2");
    expect((await checkContracts(root)).findings).toContain(
      `${BY} ${COMPLETED} task.title: Task.title was renamed to "summary"`,
    );
  });

  it.each([
    [
      "removed",
      TASK,
      /^ {2}\/\/ The rule in.*\n.*$/m,
      "",
      `${COMPLETED} task.due.recurrence.rule: Recurrence.rule was removed`,
    ],
    [
      "renamed",
      TASK,
      "string title = 2",
      "string summary = 2",
      `${COMPLETED} task.title: Task.title was renamed to "summary"`,
    ],
    [
      "retyped",
      TASK,
      "string title = 2",
      "bytes title = 2",
      `${COMPLETED} task.title: the type of Task.title was changed from string to bytes`,
    ],
    [
      "repeated",
      TASK,
      "string title = 2",
      "repeated string title = 2",
      `${COMPLETED} task.title: the type of Task.title was changed from string to repeated string`,
    ],
    [
      "renumbered",
      TASK,
      "string title = 2",
      "string title = 22",
      `${COMPLETED} task.title: Task.title was renumbered from 2 to 22`,
    ],
    [
      "short of a value",
      TASK,
      /^ {2}\/\/ High\.\n.*$/m,
      "",
      `${COMPLETED} task.priority: the value PRIORITY_HIGH was removed`,
    ],
    [
      "given another word",
      TASK,
      "PRIORITY_HIGH",
      "PRIORITY_BIG",
      `${COMPLETED} task.priority: the value PRIORITY_HIGH was renamed to PRIORITY_BIG`,
    ],
  ])("is named with its owner when a field is %s", async (_, file, from, to, finding) => {
    declare(BILLING);
    plant(root, file, from, to);
    expect(await said()).toEqual([`${BY} ${finding}`]);
  });

  it("is named over anything inside a message that it reads as a whole", async () => {
    declare({ ...BILLING, reads: { [COMPLETED]: ["task"] } });
    plant(root, TASK, "string rule = 1;", "bytes rule = 1;");
    plant(root, TASK, "PRIORITY_HIGH", "PRIORITY_BIG");
    expect(await said()).toEqual([
      `${BY} ${COMPLETED} task: the type of Recurrence.rule was changed from string to bytes`,
      `${BY} ${COMPLETED} task: the value PRIORITY_HIGH was renamed to PRIORITY_BIG`,
    ]);
  });

  it.each([
    [
      "in a map",
      "string owner = 1",
      "bytes owner = 1",
      "parts.owner: the type of Part.owner was changed from string to bytes",
    ],
    [
      "that is a map",
      "map<string, int32>",
      "map<string, int64>",
      "counts: the type of ThingHappened.counts was changed from map<string, int32> to map<string, int64>",
    ],
    ["of an enum inside a message", "MOOD_FINE", "MOOD_GOOD", "mood: the value MOOD_FINE was renamed to MOOD_GOOD"],
    [
      "that is optional no longer",
      "optional string note",
      "string note",
      "note: ThingHappened.note does not tell unset from empty any more",
    ],
    [
      "that left its oneof",
      /oneof choice \{([^}]*)\}/,
      "$1",
      `word: ThingHappened.word was in the oneof "choice" and is in no oneof: whether it is set is told in another way`,
    ],
    [
      "that has another name in JSON",
      `"hue"`,
      `"tint"`,
      `colour: ThingHappened.colour is "tint" in JSON and was "hue"`,
    ],
  ])("is named over a field %s", async (_, from, to, finding) => {
    declare({ ...BILLING, reads: { [HAPPENED]: ["counts", "parts.owner", "mood", "note", "word", "colour"] } });
    plant(root, THING, from, to);
    expect(await said()).toEqual([`${BY} ${HAPPENED} ${finding}`]);
  });

  it.each([
    ["removed", /^\/\/ A task was deleted[^}]*\}\n/m, "", "it was removed"],
    ["renamed", "message TaskDeleted", "message TaskGone", "it was renamed to tributary.task.v1.TaskGone"],
    [
      "published elsewhere",
      '"task.deleted"',
      '"task.gone"',
      'it was published as "task.deleted" and is as "task.gone"',
    ],
    ["no event any more", /^ {2}option .*task\.deleted.*$/m, "", "it is not an event"],
  ])("is named when an event that it subscribes to is %s", async (_, from, to, finding) => {
    declare(BILLING);
    plant(root, TASK_EVENTS, from, to);
    expect(await said()).toEqual([`${BY} tributary.task.v1.TaskDeleted: ${finding}`]);
  });

  it("is named when an event moves to another file or package", async () => {
    declare(BILLING);
    const event = /^\/\/ A task was deleted[^}]*\}\n/m;
    const moved = (packageName: string): string =>
      `syntax = "proto3";\n\n// Tasks.\npackage ${packageName};\n\nimport "tributary/options/v1/options.proto";\n\n// A task was deleted.\nmessage TaskDeleted {\n  option (tributary.options.v1.event_subject) = "task.deleted";\n\n  // Its id.\n  string task_id = 1;\n}\n`;
    plant(root, TASK_EVENTS, event, "");
    writeFileSync(join(root, "proto/tributary/task/v1/deleted.proto"), moved("tributary.task.v1"));
    expect(await said()).toEqual([
      `${BY} tributary.task.v1.TaskDeleted: it was moved from tributary/task/v1/task_events.proto to tributary/task/v1/deleted.proto`,
    ]);
    root = trees.copy();
    declare(BILLING);
    plant(root, TASK_EVENTS, event, "");
    mkdirSync(join(root, "proto/tributary/workforce/v1"), { recursive: true });
    writeFileSync(join(root, "proto/tributary/workforce/v1/deleted.proto"), moved("tributary.workforce.v1"));
    expect(await said()).toEqual([
      `${BY} tributary.task.v1.TaskDeleted: it was moved to tributary.workforce.v1.TaskDeleted`,
    ]);
  });

  it("is warned, and nobody is stopped, when something that it reads is deprecated", async () => {
    declare(BILLING);
    plant(root, TASK, "string title = 2 [", "string title = 2 [deprecated = true, ");
    plant(root, TASK_EVENTS, /^(message TaskDeleted \{)$/m, "$1\n  option deprecated = true;\n");
    const { findings, warnings } = await checkContracts(root);
    expect(warnings).toEqual([
      `${BY} ${COMPLETED} task.title: Task.title is deprecated`,
      `${BY} tributary.task.v1.TaskDeleted: it is deprecated`,
    ]);
    expect(findings.filter((finding) => !finding.includes("npm run generate"))).toEqual([]);
  });

  it.each([
    ["type", { "tributary.task.v1.TaskMoved": [] }, "tributary.task.v1.TaskMoved: there is no such type"],
    [
      "type, and which one was meant",
      { "tributary.task.v1.TaskComplted": [] },
      "tributary.task.v1.TaskComplted: there is no such type; did you mean tributary.task.v1.TaskCompleted?",
    ],
    [
      "field, and which one was meant",
      { [COMPLETED]: ["task.tittle"] },
      `${COMPLETED} task.tittle: Task has no field "tittle"; did you mean "title"?`,
    ],
    ["event", { "tributary.task.v1.Task": ["id"] }, "tributary.task.v1.Task: it is not an event"],
    ["field", { [COMPLETED]: ["task.colour"] }, `${COMPLETED} task.colour: Task has no field "colour"`],
    [
      "name in the contract",
      { [COMPLETED]: ["completedAt"] },
      `${COMPLETED} completedAt: TaskCompleted has no field "completedAt"; in the contract it is "completed_at"`,
    ],
    [
      "field below",
      { [COMPLETED]: ["task.title.length"] },
      `${COMPLETED} task.title.length: what stands before "length" has no fields`,
    ],
  ])("is told that it names no such %s", async (_, reads, finding) => {
    declare({ ...BILLING, reads });
    expect(await said()).toEqual([`${BY} ${finding}`]);
  });

  it.each([
    ["another name than its file", { ...BILLING, consumer: "payments" }, `"consumer" is to be the file's name`],
    ["no owner", { ...BILLING, owner: " " }, `"owner" is to say whom to ask`],
    [
      "fields that are no list",
      { ...BILLING, reads: { [COMPLETED]: "task" } },
      `"reads" of ${COMPLETED} is to be a list`,
    ],
    ["nothing that it reads", { ...BILLING, reads: {} }, `"reads" names no event`],
    ["no object", [BILLING], "is not an object"],
    ["a key that the format does not know", { ...BILLING, read: {} }, `"read" is not a key of this format`],
  ])("is refused with %s", async (_, consumer, finding) => {
    declare(consumer);
    expect(await said()).toEqual([expect.stringContaining(`${FILE}: ${finding}`)]);
  });

  it("may live in a repository of its own", async () => {
    const elsewhere = join(root, "..", "their-repository");
    declare({ ...BILLING, reads: { [COMPLETED]: ["task.colour"] } }, elsewhere);
    const { findings, seen } = await checkContracts(root, { consumers: [elsewhere] });
    expect(seen).toMatch("1 consumer");
    expect(findings).toEqual([expect.stringMatching(/billing\.json: billing \(owner.*task\.colour/)]);
  });

  it("is refused when it could not subscribe by its name", async () => {
    declare({ ...BILLING, consumer: "Billing" }, undefined, "Billing");
    expect(await said()).toEqual([
      expect.stringContaining(`Billing.json: "consumer" is the name that it subscribes by`),
    ]);
  });

  it.each([
    ["a folder that is not there", "nowhere", "nowhere: there is no such folder"],
    ["a folder that holds none", "proto/examples/..", "is not read; a consumer is a file <consumer>.json"],
    ["an empty folder", "empty", "empty: holds no <consumer>.json"],
    ["a file", TASK, "is not a folder; name the one that it lies in"],
  ])("is not looked for in vain in %s", async (_, folder, finding) => {
    mkdirSync(join(root, "empty"));
    const { findings } = await checkContracts(root, { consumers: [join(root, folder)] });
    expect(findings.join("\n")).toContain(finding);
  });
});
