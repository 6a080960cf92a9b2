import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { sourceFiles } from "../tree.ts";
import { checkHouseRules } from "./house-rules.ts";

const scratch = mkdtempSync(join(tmpdir(), "tributary-house-test-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function findingsFor(file: string, text: string): Promise<string[]> {
  const root = mkdtempSync(join(scratch, "tree-"));
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
  return checkHouseRules(root, await sourceFiles(root));
}

// Put together here, because this file is checked as well.
const slash = "/";
const registry = ["registry", "example", "org"].join(".");
const leaveOut = ["it", "skip"].join(".");
const leaveOthersOut = ["describe.each([1])", "only"].join(".");

describe("the rules of the house", () => {
  it.each([
    ["packages/a/src/long.ts", "export {};\n".repeat(401), "401 lines; a file ends at 400"],
    ["packages/a/src/token-util.ts", "export {};\n", '"util" in a file\'s name says nothing'],
    ["packages/a/src/a.ts", "\nexport const leaseManager = 1;\n", 'a.ts:2: "manager" in the name leaseManager'],
    ["packages/a/src/a.ts", "export function f(data2: string) { return data2; }\n", '"data2" in the name data2'],
    ["packages/a/src/a.ts", "export interface TokenHelper { a: 1 }\n", '"helper" in the name TokenHelper'],
    ["packages/a/src/a.ts", "for (const item of []) void item;\n", '"item" in the name item'],
    ["packages/a/src/a.ts", "const { x: lineItems } = a;\n", '"items" in the name lineItems'],
    [
      "packages/a/src/a.ts",
      `export function f() {\n${"  f();\n".repeat(69)}}\n`,
      "a.ts:1: 71 lines of its own; a function",
    ],
    [".npmrc", `registry=https://${registry}/\n`, ".npmrc:1: names a package registry"],
    ["README.md", `cd ${slash}home/somebody/tributary\n`, "README.md:1: holds an absolute path of one machine"],
    ["README.md", `see "${slash}Users/somebody/x"\n`, "holds an absolute path of one machine"],
    ["a.json", `{ "a": "${slash}root/x" }\n`, "holds an absolute path of one machine"],
    ["packages/a/src/a.test.ts", `${leaveOut}("works", () => {});\n`, "a.test.ts:1: a test is left out"],
    ["packages/a/src/a.test.ts", `${leaveOthersOut}("x", () => {});\n`, "a.test.ts:1: a test is left out"],
  ])("%s with %j: %s", async (file, text, finding) => {
    expect(await findingsFor(file, text)).toEqual([expect.stringContaining(finding)]);
  });

  it.each([
    ["400 lines", "packages/a/src/long.ts", "export {};\n".repeat(400)],
    [
      "a factory that holds many functions",
      "packages/a/src/a.ts",
      `function f() {\n${"  const g = () => {\n    f();\n  };\n".repeat(60)}}\n`,
    ],
    ["generated code, however long", "packages/a/src/gen/a_util_pb.ts", "export const itemManager = 1;\n".repeat(401)],
    ["a library's name", "packages/a/src/a.ts", 'import { jetstreamManager } from "a";\njetstreamManager();\n'],
    [
      "a provider's word where a provider is spoken to",
      "packages/connectors/src/todoist/connector.ts",
      "const item = 1;\n",
    ],
    ["a property that somebody else named", "packages/a/src/a.ts", "const { items } = page; void { items: 1 };\n"],
    ["an address of the API", "README.md", "GET /api/users/me and /workspace, ./home/x/y\n"],
    ["a word that contains another", "packages/a/src/itemised.ts", "export const utility1 = managerial;\n"],
  ])("allows %s", async (_, file, text) => {
    expect(await findingsFor(file, text)).toEqual([]);
  });
});
