import { openPglite, run, withOrganization } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { appendAudit } from "@tributary/vault";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { HEADS_FILE } from "../audit-heads.ts";
import { auditCommand } from "./audit.ts";
import { runCommandLine } from "./command-line.ts";

const dataDir = mkdtempSync(join(tmpdir(), "tributary-audit-"));
afterAll(() => rmSync(dataDir, { recursive: true }));

async function tributary(...argv: readonly string[]) {
  const written = { stdout: "", stderr: "" };
  const code = await runCommandLine(argv, [auditCommand], {
    env: { TRIBUTARY_DATA_DIR: dataDir },
    integrations: [],
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    now: () => new Date(),
  });
  return { code, ...written };
}

async function withDatabase<T>(work: (database: Awaited<ReturnType<typeof openPglite>>) => Promise<T>): Promise<T> {
  const database = await openPglite({ dataDir: join(dataDir, "database") });
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

const append = (...organizations: readonly string[]) =>
  withDatabase(async (database) => {
    for (const organizationId of organizations)
      await withOrganization(database, organizationId, (tx) =>
        appendAudit(tx, { organizationId, action: "permission.grant", actor: "user-1" }),
      );
  });

// Each command opens the data folder anew.
describe("tributary audit", () => {
  it("says that a whole audit is whole, and writes signed heads that the next verification compares", async () => {
    expect(await tributary("audit", "verify")).toMatchObject({ code: 0, stdout: expect.stringContaining("0 entries") });
    await append("acme", "acme", "acme", "globex", "globex");
    const head = await tributary("audit", "head", "--organization", "acme");
    expect(head.code).toBe(0);
    expect(JSON.parse(head.stdout)).toMatchObject({ organizationId: "acme", sequence: 3 });
    const lines = readFileSync(join(dataDir, HEADS_FILE), "utf8").trim().split("\n");
    expect(lines).toHaveLength(2);
    expect(lines).toContain(head.stdout.trim());
    await append("acme");
    await tributary("audit", "head");
    const verified = JSON.parse((await tributary("audit", "verify", "--json")).stdout) as object;
    expect(verified).toEqual({ organizations: 2, entries: 6, heads: 2, faults: [] });
  });

  it("names the first bad entry and ends with 1, by the heads in the data folder or by those given", async () => {
    const copy = join(dataDir, "copy.jsonl");
    writeFileSync(copy, readFileSync(join(dataDir, HEADS_FILE)));
    await withDatabase((database) =>
      asOwner(database, async (tx) => {
        await run(tx, "DELETE FROM vault.audit WHERE organization_id = 'acme' AND sequence > 2");
        await run(
          tx,
          "UPDATE vault.audit_head h SET (sequence, hash) = (SELECT sequence, hash FROM vault.audit WHERE organization_id = 'acme' AND sequence = 2) WHERE organization_id = 'acme'",
        );
      }),
    );
    const cut = { code: 1, stdout: "acme: entry 3 and what followed it are cut off\n", stderr: "" };
    expect(await tributary("audit", "verify")).toEqual(cut);
    expect(await tributary("audit", "verify", "--heads", copy)).toEqual(cut);
    expect(await tributary("audit", "verify", "--organization", "globex")).toMatchObject({ code: 0 });
    const json = await tributary("audit", "verify", "--json");
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      faults: [{ organizationId: "acme", sequence: 3, fault: "truncated" }],
    });
    // A chain that went back is not what is remembered.
    await tributary("audit", "head");
    expect(await tributary("audit", "verify")).toEqual(cut);
    rmSync(join(dataDir, HEADS_FILE));
    const alone = await tributary("audit", "verify");
    expect(alone).toMatchObject({ code: 0, stdout: expect.stringContaining("would not show") });
  });

  it("ends with 2 for a file of heads that is not there", async () => {
    expect(existsSync(join(dataDir, "nowhere"))).toBe(false);
    expect(await tributary("audit", "verify", "--heads", join(dataDir, "nowhere"))).toMatchObject({ code: 2 });
  });
});
