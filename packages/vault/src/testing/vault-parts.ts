import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, migrate } from "@tributary/db";
import { createDataKeys } from "../data-keys.ts";
import { loadCheckedKeyRing } from "../key-check.ts";
import { migrations } from "../migrations.ts";
import { createOutbound } from "../outbound.ts";
import type { VaultParts } from "../parts.ts";

/** The vault's parts on a database, with keys of their own, for tests that speak to its files directly. */
export async function makeVaultParts(
  database: Database,
): Promise<{ readonly parts: VaultParts; readonly keyFile: string; readonly remove: () => void }> {
  await migrate(database, [migrations]);
  const folder = mkdtempSync(join(tmpdir(), "tributary-vault-"));
  const keyFile = join(folder, "keys.json");
  const now = (): Date => new Date();
  const parts: VaultParts = {
    database,
    ring: await loadCheckedKeyRing(database, { file: keyFile }),
    outbound: createOutbound({ origins: new Map() }),
    clients: [],
    publicOrigin: "https://hub.example.com",
    limits: { requestMs: 1000, tokenRequestMs: 1000, responseBytesMax: 1000 },
    now,
    randomUUID,
    renewals: new Map(),
    dataKeys: createDataKeys(now),
    erasureLedger: undefined,
  };
  return { parts, keyFile, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
