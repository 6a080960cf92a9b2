import { acrossOrganizations, type Queryable, withOrganization } from "@tributary/db";
import { appendAudit } from "@tributary/vault";
import { and, eq, sql } from "drizzle-orm";
import { IntegrationError } from "./errors.ts";
import { partPlaintext, type PlaintextSecret } from "./plaintext.ts";
import type { Runtime } from "./runtime.ts";
import { notice, setting, type SettingConfig } from "./schema.ts";

/** An integration as an organisation sees it. */
export interface Setting {
  readonly organizationId: string;
  readonly integration: string;
  readonly enabled: boolean;
  /** Undefined: the connector's default. */
  readonly apiVersion: string | undefined;
  /** Never holds a credential. */
  readonly config: SettingConfig;
  /** Goes up with every change. */
  readonly version: number;
}

export interface SettingChange extends Omit<Setting, "version"> {
  /** The version that the change was made from; undefined when there was none. */
  readonly version: number | undefined;
  /** Who changes it: a user's id, or the part of the hub that acts by itself. */
  readonly actor: string;
}

type Parts = Pick<Runtime, "database" | "vault" | "now" | "uuid">;
type Row = typeof setting.$inferSelect;

const MOVER = "plaintext-mover";
const ATTEMPTS = 5;

/**
 * Reads a setting. A credential that stands in it in the open, as an import or an older copy may bring it, is moved into the
 * vault before anything is given out.
 * @returns undefined when the organisation never set anything.
 */
export async function readSetting(
  parts: Parts,
  organizationId: string,
  integration: string,
): Promise<Setting | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const row = await withOrganization(parts.database, organizationId, (tx) =>
      findRow(tx, organizationId, integration),
    );
    if (row === undefined || partPlaintext(row.config).secrets.length === 0) return row && viewOf(row);
    await movePlaintext(parts, row);
  }
  throw new IntegrationError("conflict", "The setting is being changed again and again.");
}

/**
 * Creates or changes a setting. Credentials in `config` go into the vault, and never into the row.
 * @throws IntegrationError conflict when the setting is of another version by now · validation_failed when config has not
 * its shape.
 */
export async function writeSetting(parts: Parts, change: SettingChange): Promise<Setting> {
  const { organizationId, integration, actor, version } = change;
  const { secrets, rest } = partPlaintext(change.config);
  if (rest.v !== 1 || JSON.stringify(rest).length > CONFIG_CHARACTERS_MAX)
    throw new IntegrationError("validation_failed", "The configuration has not the shape of one.", [
      { path: "/config", reason: "shape" },
    ]);
  await store(parts, organizationId, integration, secrets, actor);
  const values = {
    enabled: change.enabled,
    apiVersion: change.apiVersion ?? null,
    config: rest,
    updatedBy: actor,
    updatedAt: parts.now(),
  };
  const row = await withOrganization(parts.database, organizationId, async (tx) => {
    const [written] =
      version === undefined
        ? await tx
            .insert(setting)
            .values({ organizationId, integration, ...values })
            .onConflictDoNothing()
            .returning()
        : await tx
            .update(setting)
            .set({ ...values, version: sql`version + 1` })
            .where(and(sameSetting(organizationId, integration), eq(setting.version, version)))
            .returning();
    if (written !== undefined)
      await appendAudit(tx, {
        organizationId,
        integration,
        action: "setting.change",
        actor,
        detail: `${written.version}`,
      });
    return written;
  });
  if (row === undefined) throw new IntegrationError("conflict", "The setting was changed meanwhile.");
  return viewOf(row);
}

/**
 * Looks through the settings of all organisations for credentials in the open: at start, so that they wait for no reader.
 * @returns in how many settings there were any.
 */
export async function moveAllPlaintext(parts: Parts): Promise<number> {
  let [moved, after] = [0, ["", ""]];
  for (;;) {
    const [organization = "", integration = ""] = after;
    const rows = await acrossOrganizations(parts.database, "upkeep", (tx) =>
      tx
        .select()
        .from(setting)
        .where(sql`(organization_id, integration) > (${organization}, ${integration})`)
        .orderBy(setting.organizationId, setting.integration)
        .limit(PAGE),
    );
    for (const row of rows) {
      after = [row.organizationId, row.integration];
      if (partPlaintext(row.config).secrets.length === 0) continue;
      await readSetting(parts, row.organizationId, row.integration);
      moved++;
    }
    if (rows.length < PAGE) return moved;
  }
}

const PAGE = 500;
const CONFIG_CHARACTERS_MAX = 16_000;

/**
 * First into the vault, then out of the row: a process that is killed in between leaves both, and whoever loads the setting
 * next does it again, under the same name. The row is changed only as it was read, together with the notice and the audit
 * entry, which name where something was found and not what.
 */
async function movePlaintext(parts: Parts, row: Row): Promise<void> {
  const { organizationId, integration } = row;
  const { secrets, rest } = partPlaintext(row.config);
  await store(parts, organizationId, integration, secrets, MOVER);
  await withOrganization(parts.database, organizationId, async (tx) => {
    const cleaned = await tx
      .update(setting)
      .set({ config: rest, version: sql`version + 1` })
      .where(
        and(
          sameSetting(organizationId, integration),
          eq(setting.version, row.version),
          sql`config = ${JSON.stringify(row.config)}::jsonb`,
        ),
      )
      .returning({ version: setting.version });
    if (cleaned.length === 0) return;
    const [place, rowKey] = ["integrations.setting.config", `${organizationId} ${integration}`];
    await tx.insert(notice).values({ id: parts.uuid(), organizationId, code: "secret_moved", place, rowKey });
    const detail = secrets
      .map(({ name }) => name)
      .toSorted()
      .join(" ");
    await appendAudit(tx, {
      organizationId,
      integration,
      action: "setting.secret_moved",
      actor: MOVER,
      detail: detail.slice(0, 500),
    });
  });
}

async function store(
  { vault }: Parts,
  organizationId: string,
  integration: string,
  secrets: readonly PlaintextSecret[],
  actor: string,
): Promise<void> {
  for (const { name, value } of secrets)
    await vault.storeIntegrationSecret({ organizationId, integration, name: name.slice(-200), value, actor });
}

async function findRow(tx: Queryable, organizationId: string, integration: string): Promise<Row | undefined> {
  const [row] = await tx.select().from(setting).where(sameSetting(organizationId, integration));
  return row;
}

const sameSetting = (organizationId: string, integration: string) =>
  and(eq(setting.organizationId, organizationId), eq(setting.integration, integration));

const viewOf = ({ organizationId, integration, enabled, apiVersion, config, version }: Row): Setting => ({
  organizationId,
  integration,
  enabled,
  apiVersion: apiVersion ?? undefined,
  config,
  version,
});
