import {
  acrossOrganizations,
  type CrossRole,
  type Database,
  openPglite,
  type OrganizationRole,
  run,
  withOrganization,
} from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { appendAudit, type AuditEntry, entryHash, STORED_ENTRY, type StoredEntry } from "./audit.ts";
import { parseSignedHead } from "./audit-heads.ts";
import { type Auditor, openAuditor } from "./auditor.ts";
import { makeVaultParts } from "./testing/vault-parts.ts";

let database: Database;
let auditor: Auditor;
let remove: () => void;
beforeAll(async () => {
  database = await openPglite();
  const made = await makeVaultParts(database);
  remove = made.remove;
  auditor = await openAuditor({ database, keys: { file: made.keyFile } });
});
afterAll(async () => {
  remove();
  await database.close();
});
beforeEach(() => asOwner(database, (tx) => run(tx, "TRUNCATE vault.audit, vault.audit_head")));

const append = (change: Partial<AuditEntry> = {}, role: OrganizationRole = "vault") => {
  const entry = { organizationId: "acme", action: "permission.grant", actor: "user-1", ...change };
  return withOrganization(database, entry.organizationId, (tx) => appendAudit(tx, entry), role);
};
const fill = async (count: number, organizationId = "acme") => {
  for (let n = 1; n <= count; n++) await append({ organizationId, detail: `${n}`, revision: n });
};
/** As somebody who administers the database would. */
const tamper = (...statements: readonly string[]) =>
  asOwner(database, async (tx) => {
    for (const statement of statements) await run(tx, statement);
  });
const faults = async (what: Parameters<Auditor["verify"]>[0] = {}) =>
  (await auditor.verify(what)).faults.map(
    ({ organizationId, sequence, fault }) => `${organizationId} ${sequence} ${fault}`,
  );

describe("a chain of entries", () => {
  it("is numbered from 1 without a gap, one chain an organisation, and verifies", async () => {
    await fill(11);
    await fill(2, "globex");
    expect(await auditor.verify()).toEqual({ organizations: 2, entries: 13, heads: 0, faults: [] });
    expect(await append()).toBe(12);
    expect(await auditor.verify({ organizationId: "globex" })).toMatchObject({ organizations: 1, entries: 2 });
  });

  it("is hashed over every column, each with its length: here as in the database", async () => {
    const owner = { kind: "user", id: "ä€𝄞" } as const;
    await append({
      owner,
      integration: "tasks",
      credentialId: "c",
      secretId: "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e8f",
      revision: 7,
      detail: "d",
      correlationId: "r",
    });
    await append();
    const rows = await asOwner(database, (tx) =>
      run<StoredEntry>(tx, `SELECT ${STORED_ENTRY} FROM vault.audit ORDER BY sequence`),
    );
    let before: Uint8Array = new Uint8Array(32);
    for (const { hash, ...entry } of rows) {
      expect(Buffer.from(entryHash(before, entry)).equals(hash)).toBe(true);
      for (const [column, value] of Object.entries(entry))
        for (const other of [`${value}x`, null].filter((change) => change !== value))
          expect(Buffer.from(entryHash(before, { ...entry, [column]: other })).equals(hash), column).toBe(false);
      before = hash;
    }
    const [moved] = rows;
    if (moved === undefined) throw new Error("nothing was written");
    const shifted = { ...moved, detail: `${moved.detail}r`, correlation_id: "" };
    expect(entryHash(new Uint8Array(32), shifted)).not.toEqual(entryHash(new Uint8Array(32), moved));
  });

  it("rolls back with what it records", async () => {
    await append();
    const undone = withOrganization(database, "acme", async (tx) => {
      await appendAudit(tx, { organizationId: "acme", action: "permission.grant", actor: "user-1" });
      throw new Error("undone");
    });
    await expect(undone).rejects.toThrow("undone");
    expect(await append()).toBe(2);
    expect(await faults()).toEqual([]);
  });
});

describe("nobody", () => {
  const roles: readonly (OrganizationRole | CrossRole)[] = [
    "writer",
    "reader",
    "vault",
    "auth",
    "scheduler",
    "ingress",
    "relay",
    "keeper",
    "upkeep",
  ];
  const inRole = (role: OrganizationRole | CrossRole, statement: string) =>
    role === "writer" || role === "reader" || role === "vault"
      ? withOrganization(database, "acme", (tx) => run(tx, statement), role)
      : acrossOrganizations(database, role, (tx) => run(tx, statement));

  it.each(roles)("can change, delete or write an entry as %s", async (role) => {
    await fill(1);
    for (const statement of [
      "UPDATE vault.audit SET detail = ''",
      "DELETE FROM vault.audit",
      "TRUNCATE vault.audit",
      "INSERT INTO vault.audit SELECT * FROM vault.audit",
      "UPDATE vault.audit_head SET sequence = 0",
      "DELETE FROM vault.audit_head",
      "INSERT INTO vault.audit_head SELECT * FROM vault.audit_head",
    ])
      await expect(inRole(role, statement), statement).rejects.toMatchObject({ code: "42501" });
  });

  it("takes the role that may, once the tables are there", async () => {
    const [row] = await asOwner(database, (tx) =>
      run<{ members: bigint }>(
        tx,
        "SELECT count(*) AS members FROM pg_auth_members WHERE roleid = 'tributary_recorder'::regrole",
      ),
    );
    expect(row?.members).toBe(0n);
  });

  it("but the vault records what happens to credentials and keys", async () => {
    for (const action of ["credential.store", "key.rotate", "subject.erase"]) {
      await expect(append({ action }, "writer")).rejects.toMatchObject({ code: "42501" });
      await append({ action });
    }
    await append({}, "writer");
    await expect(append({}, "reader")).rejects.toMatchObject({ code: "42501" });
  });

  it("writes into another organisation's chain", async () => {
    const entry = { organizationId: "globex", action: "permission.grant", actor: "user-1" };
    const foreign = withOrganization(database, "acme", (tx) => appendAudit(tx, entry));
    await expect(foreign).rejects.toMatchObject({ code: "42501" });
    expect(await acrossOrganizations(database, "auth", (tx) => appendAudit(tx, entry))).toBe(1);
  });
});

describe("verification", () => {
  beforeEach(() => fill(6));

  const edits = [
    "action = 'permission.revoke'",
    "actor = 'user-2'",
    "detail = ''",
    "at = at + interval '1 microsecond'",
    "revision = NULL",
  ];
  it.each(edits)("finds an edited entry: %s", async (edit) => {
    await tamper(`UPDATE vault.audit SET ${edit} WHERE sequence = 3`);
    expect(await faults()).toEqual(["acme 3 altered"]);
  });

  it("finds an edited entry whose hash was made to fit", async () => {
    await tamper(
      "UPDATE vault.audit SET detail = 'x' WHERE sequence = 3",
      "UPDATE vault.audit a SET hash = vault.audit_hash((SELECT hash FROM vault.audit WHERE sequence = 2), a) WHERE sequence = 3",
    );
    expect(await faults()).toEqual(["acme 4 altered"]);
  });

  it("finds a deleted entry, in the middle and at the beginning", async () => {
    await tamper("DELETE FROM vault.audit WHERE sequence = 4");
    expect(await faults()).toEqual(["acme 4 missing"]);
    await tamper("DELETE FROM vault.audit WHERE sequence = 1");
    expect(await faults()).toEqual(["acme 1 missing"]);
  });

  it("finds deleted entries although the others were numbered anew", async () => {
    await tamper(
      "DELETE FROM vault.audit WHERE sequence = 3",
      "UPDATE vault.audit SET sequence = sequence + 100 WHERE sequence > 3",
      "UPDATE vault.audit SET sequence = sequence - 101 WHERE sequence > 100",
    );
    expect(await faults()).toEqual(["acme 3 altered"]);
  });

  it("finds entries that changed places", async () => {
    await tamper(
      "ALTER TABLE vault.audit DROP CONSTRAINT audit_sequence_check",
      "UPDATE vault.audit SET sequence = -sequence WHERE sequence IN (2, 5)",
      "UPDATE vault.audit SET sequence = 7 + sequence WHERE sequence < 0",
    );
    expect(await faults()).toEqual(["acme 2 altered"]);
    await tamper(
      "TRUNCATE vault.audit",
      "ALTER TABLE vault.audit ADD CONSTRAINT audit_sequence_check CHECK (sequence > 0)",
    );
  });

  it("finds a chain that was cut at its end", async () => {
    await tamper("DELETE FROM vault.audit WHERE sequence > 4");
    expect(await faults()).toEqual(["acme 5 truncated"]);
  });

  it("finds a cut by an exported head, where the database itself has been made to agree", async () => {
    const heads = await auditor.heads();
    await tamper(
      "DELETE FROM vault.audit WHERE sequence > 4",
      "UPDATE vault.audit_head h SET (sequence, hash, at) = (SELECT sequence, hash, at FROM vault.audit WHERE sequence = 4)",
    );
    expect(await faults()).toEqual([]);
    expect(await faults({ heads })).toEqual(["acme 5 truncated"]);
    // Entries that were written afterwards do not hide it.
    await fill(4);
    expect(await faults()).toEqual([]);
    expect(await faults({ heads })).toEqual(["acme 6 altered"]);
  });

  it("finds a chain that is gone, by its exported head", async () => {
    const heads = await auditor.heads();
    await tamper("TRUNCATE vault.audit, vault.audit_head");
    expect(await faults()).toEqual([]);
    expect(await faults({ heads })).toEqual(["acme 1 truncated"]);
  });

  it("finds a head that was moved, and one that is gone", async () => {
    await tamper("UPDATE vault.audit_head SET hash = decode(repeat('ab', 32), 'hex')");
    expect(await faults()).toEqual(["acme 6 head_altered"]);
    await tamper("UPDATE vault.audit_head SET sequence = 3");
    expect(await faults()).toEqual(["acme 4 head_altered"]);
    await tamper("DELETE FROM vault.audit_head");
    expect(await faults()).toEqual(["acme 1 head_altered"]);
  });

  it("names the first fault of each chain, and none of the others", async () => {
    await fill(3, "globex");
    await fill(2, "initech");
    await tamper(
      "DELETE FROM vault.audit WHERE organization_id = 'acme' AND sequence IN (2, 5)",
      "UPDATE vault.audit SET actor = '' WHERE organization_id = 'initech'",
    );
    expect(await faults()).toEqual(["acme 2 missing", "initech 1 altered"]);
  });

  it("believes no exported head that this vault did not sign", async () => {
    const [head] = await auditor.heads();
    if (head === undefined) throw new Error("no head");
    expect(parseSignedHead(JSON.stringify(head))).toEqual(head);
    for (const text of [
      "",
      "{}",
      "[1]",
      JSON.stringify({ ...head, more: 1 }),
      JSON.stringify({ ...head, sequence: 0 }),
    ])
      expect(parseSignedHead(text)).toBeUndefined();
    const signature = head.signature.startsWith("A") ? `B${head.signature.slice(1)}` : `A${head.signature.slice(1)}`;
    for (const forged of [
      { ...head, sequence: 9 },
      { ...head, at: "2026-01-01T00:00:00.000Z" },
      { ...head, signature },
    ])
      expect(await faults({ heads: [forged] })).toEqual([`acme ${forged.sequence} forged_head`]);
    expect(await faults({ heads: [head] })).toEqual([]);
  });
});

describe("retention", () => {
  /** Entries cannot be made in the past: their times and hashes are written anew, as whoever owns the tables can. */
  const age = (days: readonly number[]) =>
    asOwner(database, async (tx) => {
      for (const [n, day] of days.entries()) {
        await run(tx, "UPDATE vault.audit SET at = now() - make_interval(days => $1) WHERE sequence = $2", [
          day,
          n + 1,
        ]);
        await run(tx, REHASH, [n + 1]);
      }
      await run(
        tx,
        "UPDATE vault.audit_head SET (hash, at) = (SELECT hash, at FROM vault.audit ORDER BY sequence DESC LIMIT 1)",
      );
    });
  const trim = (before: string) =>
    acrossOrganizations(database, "keeper", (tx) =>
      run<{ n: bigint }>(tx, "SELECT vault.trim_audit($1) AS n", [before]),
    );

  it("takes the beginning that is older than 400 days, and the chain goes on from there", async () => {
    await fill(5);
    await age([500, 450, 399, 10, 0]);
    const heads = await auditor.heads();
    expect(await trim("2100-01-01")).toEqual([{ n: 2n }]);
    expect(await auditor.verify({ heads })).toEqual({ organizations: 1, entries: 3, heads: 1, faults: [] });
    expect(await append()).toBe(6);
    expect(await trim("2100-01-01")).toEqual([{ n: 0n }]);
    await tamper("DELETE FROM vault.audit WHERE sequence = 3");
    expect(await faults()).toEqual(["acme 3 missing"]);
  });

  it("may be empty in between, and is nobody's but the keeper's", async () => {
    await fill(2);
    await age([500, 450]);
    expect(await trim("2100-01-01")).toEqual([{ n: 2n }]);
    expect(await faults()).toEqual([]);
    expect(await append()).toBe(3);
    expect(await faults()).toEqual([]);
    const asVault = withOrganization(database, "acme", (tx) => run(tx, "SELECT vault.trim_audit(now())"), "vault");
    await expect(asVault).rejects.toMatchObject({ code: "42501" });
  });

  it("cannot be feigned: a beginning that went too early is known by an exported head", async () => {
    await fill(3);
    const heads = await auditor.heads();
    await fill(3);
    await tamper(
      "UPDATE vault.audit_head SET (base_sequence, base_hash, base_at) = (SELECT sequence, hash, at FROM vault.audit WHERE sequence = 4)",
      "DELETE FROM vault.audit WHERE sequence <= 4",
    );
    expect(await faults()).toEqual([]);
    expect(await faults({ heads })).toEqual(["acme 3 trimmed_early"]);
  });
});

const REHASH = `
UPDATE vault.audit a SET hash = vault.audit_hash(
  coalesce((SELECT hash FROM vault.audit WHERE sequence = $1::bigint - 1), decode(repeat('00', 32), 'hex')), a)
WHERE sequence = $1::bigint`;
