import { connectors } from "@tributary/connectors";
import { freePorts } from "@tributary/db/testing";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { adminLinkCommand } from "../src/commands/admin-link.ts";
import { runCommandLine } from "../src/commands/command-line.ts";
import { startHubProcess } from "./hub-process.ts";

const dataDir = mkdtempSync(join(tmpdir(), "tributary-admin-"));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

const LINK = /http:\/\/127\.0\.0\.1:\d+\/signin\?ticket=([\w-]{43})/;

it("is printed at the first start and never again; the command prints another; no log and no file holds either", async () => {
  const env = {
    TRIBUTARY_DATA_DIR: dataDir,
    TRIBUTARY_PORT: String(await freePorts(1)),
    TRIBUTARY_SANDBOX: "false",
    // Asked for nothing before somebody signs in.
    TRIBUTARY_OIDC_ISSUER: "https://id.example.com",
    TRIBUTARY_OIDC_CLIENT_ID: "hub",
    TRIBUTARY_OIDC_CLIENT_SECRET: "of-the-hub",
    LOG_LEVEL: "debug",
  };
  const hub = await startHubProcess(env);
  await hub.until("ticket=");
  const [link = "", first = ""] = LINK.exec(hub.stdout) ?? [];
  const page = await (await fetch(link)).text();
  const stranger = await fetch(`${hub.origin}/api/me`);
  await hub.stop("SIGTERM");
  expect(page).toContain(`ticket=${first}"`);
  expect(stranger.status).toBe(401);
  expect(hub.stderr).toContain("a request was refused");

  const again = await startHubProcess(env);
  await again.stop("SIGTERM");
  expect(again.stdout).not.toMatch(LINK);

  let stdout = "";
  const code = await runCommandLine(["--json", "admin-link"], [adminLinkCommand], {
    env: { ...env },
    integrations: connectors.map(({ id }) => id),
    stdout: { write: (text: string) => (stdout += text) },
    stderr: process.stderr,
    now: () => new Date(),
  });
  const [, second = ""] = LINK.exec((JSON.parse(stdout) as { link: string }).link) ?? [];
  expect([code, first.length, second.length, first === second]).toEqual([0, 43, 43, false]);

  const files = readdirSync(dataDir, { recursive: true, encoding: "utf8" })
    .map((name) => join(dataDir, name))
    .filter((path) => statSync(path).isFile());
  const kept = [hub.stderr, again.stderr, ...files.map((path) => readFileSync(path, "latin1"))].join("\n");
  for (const token of [first, second]) expect(kept).not.toContain(token);
});
