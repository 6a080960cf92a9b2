import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { command } from "./command.ts";
import { type ReadmeWorkspace, writeReadmeWorkspace } from "./readme-workspace.ts";
import { blockWith, readme } from "./readme.ts";
import { repositoryRoot, textOf } from "./tree.ts";

const IMAGE_BYTES_MAX = 200_000;
const links = [...readme.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);

describe("README.md", () => {
  it.each(links)("leads to something with %s", (target) => {
    expect(existsSync(join(repositoryRoot, target))).toBe(true);
  });

  it("shows pictures that load at once", () => {
    const pictures = links.filter((target) => target.endsWith(".png"));
    expect(pictures).not.toEqual([]);
    for (const picture of pictures)
      expect(statSync(join(repositoryRoot, picture)).size, picture).toBeLessThanOrEqual(IMAGE_BYTES_MAX);
  });

  it("names commands that are there", () => {
    const { scripts } = JSON.parse(readFileSync(join(repositoryRoot, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/npm (?:run )?(start|test|bench|tributary|crash|check:\w+)|`(check:\w+)`/g)];
    const commands = named.map(([, first, second]) => first ?? second ?? "");
    expect(commands).toContain("bench");
    expect(commands.filter((name) => !(name in scripts))).toEqual([]);
  });

  it("gives the addresses that compose.yaml listens on", () => {
    const [, addresses = ""] = /^export (DATABASE_URL=.+)$/m.exec(blockWith("sh", "docker compose")) ?? [];
    expect(addresses).toMatch(/^DATABASE_URL=postgres:\S+ NATS_URL=nats:\S+$/);
    expect(textOf(repositoryRoot, "compose.yaml")).toContain(addresses);
  });
});

describe("README.md's TypeScript", () => {
  let workspace: ReadmeWorkspace;
  beforeAll(() => (workspace = writeReadmeWorkspace()));
  afterAll(() => workspace.remove());

  it("type-checks in the packages that it names", async () => {
    expect(workspace.files).toEqual(["services/hub/listen.ts", "packages/connectors/src/chores/connector.ts"]);
    const compiler = join(repositoryRoot, "node_modules/typescript-7/bin/tsc");
    const checked = await command(process.execPath, [compiler, "-p", workspace.folder, "--pretty", "false"], {
      cwd: repositoryRoot,
      timeoutMs: 60_000,
    });
    expect(checked).toEqual({ code: 0, output: "" });
  });
});
