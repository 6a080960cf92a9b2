import type { JsonColumn } from "@tributary/db";
import { type Damage, findDamage, jsonColumns as ofIntegrations, resetDamage } from "@tributary/integrations";
import { jsonColumns as ofPipeline } from "@tributary/pipeline";
import { jsonColumns as ofVault } from "@tributary/vault";
import { Command } from "commander";
import { randomUUID } from "node:crypto";
import { type CommandContext, report, ReportedFailure } from "./command-line.ts";
import { withData } from "./open-data.ts";

/** Every JSON column there is; a test compares it with the catalog. */
export const JSON_COLUMNS: readonly JsonColumn[] = [...ofIntegrations, ...ofPipeline, ...ofVault];

/** `tributary repair`: records whose JSON has lost its shape, as after restoring a damaged copy. */
export function repairCommand(context: CommandContext): Command {
  return new Command("repair")
    .summary("find records whose JSON has lost its shape, and reset them")
    .description(
      "find records whose JSON has lost its shape and show where they are, never what they hold; exit code 1 when there are any. " +
        "With --yes each is reset to a safe value, and the organisation's admins are told",
    )
    .option("--yes", "reset what was found")
    .action((options: { readonly yes?: true }, command: Command) =>
      withData(context, async ({ database }) => {
        const damages = await findDamage(database, JSON_COLUMNS);
        const parts = { database, columns: JSON_COLUMNS, uuid: randomUUID, actor: "operator" };
        if (options.yes === true) for (const damage of damages) await resetDamage(parts, damage);
        const left = options.yes === true ? await findDamage(database, JSON_COLUMNS) : damages;
        const reset = damages.length - left.length;
        report(context, command, { found: damages.map(shown), reset }, lines(damages, reset, options.yes === true));
        if (left.length > 0) throw new ReportedFailure();
      }),
    );
}

const shown = ({ column, row }: Damage) => ({
  place: `${column.table}.${column.column}`,
  row: row.key,
  organizationId: row.organizationId ?? null,
  resettingLoses: column.loses,
});

function lines(damages: readonly Damage[], reset: number, confirmed: boolean): string[] {
  if (damages.length === 0) return ["every record has its shape"];
  const found = damages.map((damage) => {
    const { place, row, organizationId, resettingLoses } = shown(damage);
    const whose = organizationId === null ? "" : ` of ${organizationId}`;
    return `${place}, row ${row.join(" ")}${whose}; resetting loses ${resettingLoses}`;
  });
  const end = confirmed
    ? `${reset} of ${damages.length} were reset, and the admins of their organisations are told`
    : `${damages.length} records; nothing was changed: "tributary repair --yes" resets them`;
  return [...found, end];
}
