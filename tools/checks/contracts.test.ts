import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { command } from "../command.ts";
import { repositoryRoot } from "../tree.ts";
import { checkContracts } from "./contracts.ts";
import { releaseContracts } from "./release.ts";

// Every case starts buf four times, and other tests share the cores.
vi.setConfig({ testTimeout: 30_000 });

const scratch = mkdtempSync(join(tmpdir(), "tributary-contracts-test-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const TASK = "proto/tributary/task/v1/task.proto";
const released = join(scratch, "released");
let root = "";

/** A released tree of its own: buf's configuration as it is, and the contracts of tasks. */
beforeAll(async () => {
  for (const path of ["buf.yaml", "buf.gen.yaml", "proto/tributary/options", "proto/tributary/task"])
    cpSync(join(repositoryRoot, path), join(released, path), { recursive: true });
  await command("buf", ["generate"], { cwd: released });
  await releaseContracts(released, "1.0.0", false);
}, 30_000);

beforeEach(() => {
  root = mkdtempSync(join(scratch, "tree-"));
  cpSync(released, root, { recursive: true });
});

function edit(file: string, from: string | RegExp, to: string): void {
  const text = readFileSync(join(root, file), "utf8");
  const edited = text.replace(from, to);
  expect(edited).not.toBe(text);
  writeFileSync(join(root, file), edited);
}

describe("the contracts gate", () => {
  it("is content with what was released", async () => {
    expect((await checkContracts(root)).findings).toEqual([]);
  });

  it("lets a field and an event be added", async () => {
    edit(TASK, /^message Due \{/m, "message Due {\n  // Whether the day is certain.\n  bool certain = 50;\n");
    edit(
      "proto/tributary/task/v1/task_events.proto",
      /$/,
      '\n// A task moved.\nmessage TaskMoved {\n  option (tributary.options.v1.event_subject) = "task.moved";\n\n  // Its id.\n  string task_id = 1;\n}\n',
    );
    await command("buf", ["generate"], { cwd: root });
    expect((await checkContracts(root)).findings).toEqual([]);
  });

  it.each([
    ["a field is deleted", /^ {2}string rule = 1;$/m, "", /Previously present field "1".*breaks/],
    ["a type is changed", /^ {2}string rule = 1;$/m, "  bytes rule = 1;", /changed type.*breaks/],
    ["a field is renumbered", /^ {2}string rule = 1;$/m, "  string rule = 9;", /Previously present field "1".*breaks/],
    ["a field is renamed", /^ {2}string rule = 1;$/m, "  string pattern = 1;", /changed name.*breaks/],
    ["an enum value is deleted", /^ {2}PRIORITY_HIGH = 3;$/m, "", /Previously present enum value "3".*breaks/],
    ["a message is deleted", /^message Recurrence \{/m, "message Repetition {", /Recurrence/],
    ["an enum loses its zero", /^ {2}PRIORITY_UNSPECIFIED = 0;$/m, "", /first value.*zero|zero value/i],
    [
      "an enum's zero says something",
      /PRIORITY_UNSPECIFIED/,
      "PRIORITY_LOWEST",
      /should be suffixed with "_UNSPECIFIED"/,
    ],
    ["a field loses its comment", /^ {2}\/\/ The rule in the provider's words.*\n/m, "", /comment/],
  ])("refuses that %s", async (_, from, to, finding) => {
    edit(TASK, from, to);
    expect((await checkContracts(root)).findings.join("\n")).toMatch(finding);
  });

  it("notices generated code that is not what the protos say", async () => {
    edit("packages/contracts/src/gen/tributary/task/v1/task_pb.ts", /$/, "\n// by hand\n");
    expect((await checkContracts(root)).findings).toEqual([
      expect.stringContaining("task_pb.ts: not what proto/ says"),
    ]);
  });

  it("notices a released payload that means something else now", async () => {
    edit("proto/golden/1.0.0/tributary.task.v1.TaskDeleted.json", "task_id", "task-id");
    expect((await checkContracts(root)).findings).toEqual([
      expect.stringContaining("decodes to something else"),
      expect.stringContaining("encodes to other bytes"),
    ]);
  });

  it("notices that there is nothing to compare with", async () => {
    rmSync(join(root, "proto/baseline.binpb"));
    rmSync(join(root, "proto/golden"), { recursive: true });
    const { findings } = await checkContracts(root);
    expect(findings).toEqual([expect.stringContaining("baseline.binpb: missing"), "proto/golden: no released payload"]);
  });
});

describe("a release", () => {
  it("is never done twice by accident, and never breaks the one before", async () => {
    await expect(releaseContracts(root, "1.0.0", false)).rejects.toThrow("released already");
    edit(TASK, /^ {2}string rule = 1;$/m, "  bytes rule = 1;");
    await expect(releaseContracts(root, "1.1.0", false)).rejects.toThrow("changed type");
  });

  it("adds its payloads beside the older ones and a line to the changelog", async () => {
    await releaseContracts(root, "1.1.0", false);
    await releaseContracts(root, "1.1.0", true);
    expect((await checkContracts(root)).seen).toBe("4 event types, 8 released payloads");
    expect(readFileSync(join(root, "CHANGELOG.md"), "utf8").match(/^(## |- ).*$/gm)).toEqual([
      "## 1.1.0",
      "- Contracts 1.1.0: 4 event types.",
      "## 1.0.0",
      "- Contracts 1.0.0: 4 event types.",
    ]);
  });
});
