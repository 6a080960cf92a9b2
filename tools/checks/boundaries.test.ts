import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { ALLOW_LIST, OWNERS } from "./allow-list.ts";
import { checkBoundaries } from "./boundaries.ts";

// Every case parses a whole house, and other tests share the cores.
vi.setConfig({ testTimeout: 30_000 });

const scratch = mkdtempSync(join(tmpdir(), "tributary-boundaries-test-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const names = Object.keys(ALLOW_LIST).filter((folder) => folder !== "tools");
const packageName = (folder: string): string => `@tributary/${folder.replace(/^packages\//, "").replace("/", "-")}`;

/** A house with every room of the allow-list, almost empty, and the third-party libraries as empty modules. */
function house(extra: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(scratch, "tree-"));
  const write = (file: string, text: string): void => {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  };
  mkdirSync(join(root, "node_modules/@tributary"), { recursive: true });
  for (const folder of names) {
    const exports: Record<string, string> = { ".": "./src/index.ts" };
    if (folder === "packages/db" || folder === "packages/pipeline") exports["./testing"] = "./src/testing/index.ts";
    if (folder === "packages/connectors") exports["./emulators"] = "./src/emulators.ts";
    write(`${folder}/package.json`, JSON.stringify({ name: packageName(folder), type: "module", exports }));
    write(`${folder}/src/index.ts`, "export const here = 1;\n");
    if (exports["./testing"] !== undefined) write(`${folder}/src/testing/index.ts`, "export const server = 1;\n");
    symlinkSync(join(root, folder), join(root, "node_modules", packageName(folder)));
  }
  for (const name of [
    "libsodium-wrappers",
    "openid-client",
    "@nats-io/jetstream",
    "@auth/core",
    "postgres",
    "vitest",
  ]) {
    write(`node_modules/${name}/package.json`, JSON.stringify({ name, type: "module", main: "index.js" }));
    write(`node_modules/${name}/index.js`, "export {};\n");
  }
  write("packages/db/src/postgres.ts", 'import "postgres";\nexport const open = 1;\n');
  write("packages/vault/src/seal.ts", 'import "libsodium-wrappers";\nexport const seal = 1;\n');
  write("packages/connectors/src/emulators.ts", 'export { todoist } from "./todoist/emulator.ts";\n');
  write("packages/connectors/src/todoist/emulator.ts", 'import "@tributary/sandbox";\nexport const todoist = 1;\n');
  write("packages/connectors/src/todoist/connector.ts", 'import "@tributary/sdk";\nexport const connector = 1;\n');
  write(
    "packages/connectors/src/todoist/connector.test.ts",
    'import "@tributary/conformance";\nimport "./emulator.ts";\n',
  );
  write("packages/connectors/src/github/connector.ts", "export const github = 1;\n");
  write(
    "packages/vault/src/seal.servers.test.ts",
    'import "vitest";\nimport { server } from "@tributary/db/testing";\n',
  );
  write("tools/check.ts", "export const check = 1;\n");
  for (const [file, text] of Object.entries(extra)) write(file, text);
  return root;
}

describe("the boundaries gate", () => {
  it("is content with a house in order", async () => {
    const { findings, seen } = await checkBoundaries(house({}));
    expect(findings).toEqual([]);
    expect(seen).toBe(`${names.length + 11} modules, 9 imports`);
  });

  it.each([
    // The allow-list: one row of each kind.
    ["packages-contracts-may-not-import", "packages/contracts/src/a.ts", 'import "@tributary/db";'],
    ["packages-db-may-not-import", "packages/db/src/a.ts", 'import "@tributary/contracts";'],
    ["packages-sdk-may-not-import", "packages/sdk/src/a.ts", 'import "@tributary/vault";'],
    ["packages-vault-may-not-import", "packages/vault/src/a.ts", 'import "@tributary/pipeline";'],
    ["packages-integrations-may-not-import", "packages/integrations/src/a.ts", 'import "@tributary/connectors";'],
    [
      "packages-integrations-tests-may-not-import",
      "packages/integrations/src/a.test.ts",
      'import "@tributary/connectors";',
    ],
    ["packages-connectors-may-not-import", "packages/connectors/src/todoist/a.ts", 'import "@tributary/sandbox";'],
    [
      "packages-connectors-emulators-may-not-import",
      "packages/connectors/src/github/emulator.ts",
      'import "@tributary/conformance";',
    ],
    ["packages-subscriber-may-not-import", "packages/subscriber/src/a.ts", 'import "@tributary/pipeline";'],
    ["services-web-may-not-import", "services/web/src/a.ts", 'import "@tributary/api";'],
    ["services-sandbox-may-not-import", "services/sandbox/src/a.ts", 'import "@tributary/connectors";'],
    ["tools-may-not-import", "tools/a.ts", 'import "../packages/db/src/index.ts";'],
    // A type is knowledge as well, and so is an import that happens later.
    [
      "packages-sdk-may-not-import",
      "packages/sdk/src/a.ts",
      'import type { here } from "@tributary/vault";\nexport type A = typeof here;',
    ],
    ["packages-sdk-may-not-import", "packages/sdk/src/a.ts", 'export const later = () => import("@tributary/vault");'],
    ["packages-sdk-may-not-import", "packages/sdk/src/a.ts", 'export type A = import("@tributary/vault").here;'],
    // The general rules.
    ["other-packages-by-name-only", "packages/sdk/src/a.ts", 'import "../../contracts/src/index.ts";'],
    ["past-the-exports-of-packages-db", "packages/vault/src/a.ts", 'import "../../db/src/postgres.ts";'],
    ["cannot-be-resolved", "packages/vault/src/a.ts", 'import "@tributary/db/src/postgres.ts";'],
    ["production-imports-tests", "packages/vault/src/a.ts", 'import "@tributary/db/testing";'],
    ["connectors-import-each-other", "packages/connectors/src/todoist/a.ts", 'import "../github/connector.ts";'],
    ["connector-imports-an-emulator", "packages/connectors/src/todoist/a.ts", 'import "./emulator.ts";'],
    ["cycle", "packages/sdk/src/a.ts", 'import { c } from "./index.ts";\nimport "./b.ts";\nexport const a = c;'],
    ["unknown-package", "packages/shortcut/src/index.ts", "export {};"],
    // Libraries with one owner.
    ["owner-of-libsodium", "packages/vault/src/rows.ts", 'import "libsodium-wrappers";'],
    ["owner-of-openid-client", "packages/vault/src/seal.ts", 'import "openid-client";'],
    ["owner-of-nats", "packages/pipeline/src/relay.ts", 'import "@nats-io/jetstream";'],
    ["owner-of-auth.js", "packages/auth/src/identity.ts", 'import type {} from "@auth/core";'],
    ["owner-of-postgres-driver", "packages/pipeline/src/a.ts", 'import "postgres";'],
  ])("%s stops %s with %s", async (rule, file, text) => {
    const extra: Record<string, string> = { [file]: `${text}\n` };
    if (rule === "cycle") extra["packages/sdk/src/b.ts"] = 'import { a } from "./a.ts";\nexport const b = a;\n';
    const { findings } = await checkBoundaries(house(extra));
    expect(findings.filter((finding) => finding.startsWith(`${rule}: `))).not.toEqual([]);
  });

  it("lets owners, tests and harnesses import what is theirs", async () => {
    const allowed = {
      "packages/vault/src/oauth.ts": 'import "openid-client";\n',
      "packages/pipeline/src/jetstream.ts": 'import "@nats-io/jetstream";\n',
      "packages/pipeline/src/relay.servers.test.ts": 'import "@nats-io/jetstream";\nimport "@tributary/db/testing";\n',
      "packages/subscriber/src/subscribe.ts": 'import "@nats-io/jetstream";\n',
      "packages/auth/src/session.ts": 'import "@auth/core";\n',
      "packages/conformance/src/kit.ts": 'import "@tributary/db/testing";\nimport "vitest";\n',
      "services/sandbox/src/a.ts": 'import "@tributary/connectors/emulators";\n',
      "services/hub/src/main.ts": 'import "@tributary/api";\nimport "@tributary/services-web";\n',
    };
    const { findings } = await checkBoundaries(house(allowed));
    expect(findings).toEqual([]);
  });

  it("says so when it saw nothing", async () => {
    const root = mkdtempSync(join(scratch, "empty-"));
    mkdirSync(join(root, "packages/db/src"), { recursive: true });
    writeFileSync(join(root, "packages/db/src/index.ts"), "export const here = 1;\n");
    expect((await checkBoundaries(root)).findings).toEqual(["blind: only 1 modules were seen"]);
  });

  it("names an owner for libraries in files that the table knows", () => {
    for (const owner of OWNERS) expect(owner.files.every((file) => /^\^(packages|services)\//.test(file))).toBe(true);
  });
});
