import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { repositoryRoot, sourceFiles } from "../tree.ts";
import { checkDependencies, readCatalog } from "./dependencies.ts";

const scratch = mkdtempSync(join(tmpdir(), "tributary-dependencies-test-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const sound: Readonly<Record<string, string>> = {
  "pnpm-workspace.yaml":
    'catalog:\n  "@hono/node-server": 2.1.8\n  # Why.\n  hono: 4.13.18\n  vitest: 5.1.0\n\npmOnFail: ignore\n',
  "package.json": '{ "devDependencies": { "vitest": "catalog:" } }',
  "packages/a/package.json":
    '{ "dependencies": { "hono": "catalog:", "@tributary/b": "workspace:*" }, "devDependencies": { "@hono/node-server": "catalog:" } }',
  "packages/a/src/a.ts":
    'import { Hono } from "hono/tiny";\nimport type { B } from "@tributary/b";\nimport { join } from "node:path";\n',
  "packages/a/src/a.test.ts": 'import { it } from "vitest";\nimport { serve } from "@hono/node-server";\n',
};

async function findingsWith(changes: Readonly<Record<string, string>>): Promise<string[]> {
  const root = mkdtempSync(join(scratch, "tree-"));
  for (const [file, text] of Object.entries({ ...sound, ...changes })) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return checkDependencies(root, await sourceFiles(root));
}

describe("the dependencies of every package", () => {
  it("are declared, used, and pinned in one place", async () => {
    expect(await findingsWith({})).toEqual([]);
  });

  it.each([
    ["packages/a/src/b.ts", 'import "zod";', "imports zod, which is not declared in packages/a/package.json"],
    ["packages/a/src/b.ts", 'import "vitest";', "imports vitest, which is not declared"],
    ["packages/a/src/b.ts", 'import "@hono/node-server";', "which is declared for development only"],
    ["packages/a/src/b.ts", 'export const b = () => import("zod/mini");', "imports zod, which is not declared"],
    ["packages/a/src/b.ts", 'export type B = import("zod").B;', "imports zod, which is not declared"],
    ["packages/a/src/a.ts", 'import type { B } from "@tributary/b";', "packages/a/package.json: hono is not used"],
    ["packages/a/src/a.test.ts", 'import "vitest";', "packages/a/package.json: @hono/node-server is not used"],
    [
      "pnpm-workspace.yaml",
      `${sound["pnpm-workspace.yaml"]}`.replace("4.13.18", "^4.13.18"),
      'hono is "^4.13.18", not one exact version',
    ],
    [
      "pnpm-workspace.yaml",
      `${sound["pnpm-workspace.yaml"]}`.replace("  vitest", "  zod: 1.2.3\n  vitest"),
      "nobody uses zod",
    ],
    [
      "pnpm-workspace.yaml",
      "catalog:\n  hono: 4.13.18\n  vitest: 5.1.0\n",
      "@hono/node-server is not in the catalogue",
    ],
  ])("%s with %s: %s", async (file, text, finding) => {
    expect(await findingsWith({ [file]: text })).toContainEqual(expect.stringContaining(finding));
  });

  it("have their versions nowhere else", async () => {
    const manifest =
      '{ "dependencies": { "hono": "4.13.18", "@tributary/b": "0.1.0", "@hono/node-server": "catalog:" } }';
    expect(await findingsWith({ "packages/a/package.json": manifest })).toEqual([
      'packages/a/package.json: hono is "4.13.18"; versions stand in pnpm-workspace.yaml',
      'packages/a/package.json: @tributary/b must be "workspace:*"',
    ]);
  });

  it("are justified in one line each", () => {
    const catalog = readCatalog(readFileSync(join(repositoryRoot, "pnpm-workspace.yaml"), "utf8"));
    const page = readFileSync(join(repositoryRoot, "docs/DEPENDENCIES.md"), "utf8");
    const lines = [...page.matchAll(/^\| `([^`]+)` \| (.+?) \| (.+?) \|$/gm)];
    expect(catalog.size).toBeGreaterThan(20);
    expect(lines.map(([, name]) => name)).toEqual([...catalog.keys()]);
  });
});
