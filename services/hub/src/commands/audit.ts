import { type AuditFaultKind, type AuditReport, openAuditor, type SignedHead } from "@tributary/vault";
import { Command } from "commander";
import { existsSync } from "node:fs";
import { exportHeads, HEADS_FILE, readHeads } from "../audit-heads.ts";
import { keySourceOf } from "../config.ts";
import { type CommandContext, CommandFailure, EXIT, report, ReportedFailure } from "./command-line.ts";
import { type OpenData, withData } from "./open-data.ts";

interface VerifyOptions {
  readonly organization?: string;
  readonly heads?: string;
}

/** `tributary audit`: the record of what happened to credentials, keys and permissions. */
export function auditCommand(context: CommandContext): Command {
  const audit = new Command("audit").description("the record of what happened to credentials, keys and permissions");
  audit
    .command("verify")
    .description("find entries that were edited, deleted, exchanged or cut off, and name the first; exit code 1 then")
    .option("--organization <id>", "this organisation's alone")
    .option("--heads <file>", "heads that were exported before, a line each; default: those in the data folder")
    .action((options: VerifyOptions, command: Command) =>
      withData(context, async (data) => {
        const heads = headsOf(data, options.heads);
        const { organization } = options;
        const found = await (
          await auditorOf(data)
        ).verify({
          heads,
          ...(organization === undefined ? {} : { organizationId: organization }),
        });
        report(context, command, found, verdict(found));
        if (found.faults.length > 0) throw new ReportedFailure();
      }),
    );
  audit
    .command("head")
    .description(
      "print where every chain ends, signed, a line each: keep them where nobody who keeps the database can write",
    )
    .option("--organization <id>", "this organisation's alone")
    .action((options: { readonly organization?: string }, command: Command) =>
      withData(context, async (data) => {
        const all = await exportHeads(await auditorOf(data), data.file(HEADS_FILE), context.now());
        const heads = all.filter(({ organizationId }) => [undefined, organizationId].includes(options.organization));
        report(
          context,
          command,
          { heads },
          heads.map((head) => JSON.stringify(head)),
        );
      }),
    );
  return audit;
}

const auditorOf = ({ config, database }: OpenData) => openAuditor({ database, keys: keySourceOf(config) });

function headsOf(data: OpenData, file: string | undefined): readonly SignedHead[] {
  if (file !== undefined && !existsSync(file)) throw new CommandFailure(EXIT.usage, "the file of --heads is not there");
  return readHeads(file ?? data.file(HEADS_FILE));
}

function verdict({ organizations, entries, heads, faults }: AuditReport): string[] {
  const compared =
    heads === 0 ? "no exported head to compare with: a cut at the end would not show" : `${heads} exported heads agree`;
  if (faults.length === 0) return [`${entries} entries of ${organizations} organisations are whole; ${compared}`];
  return faults.map(({ organizationId, sequence, fault }) => `${organizationId}: entry ${sequence} ${SAYINGS[fault]}`);
}

const SAYINGS: Readonly<Record<AuditFaultKind, string>> = {
  altered: "is not the one that was written there",
  missing: "is missing",
  truncated: "and what followed it are cut off",
  trimmed_early: "went before its time",
  head_altered: "is where the chain's own end was altered",
  forged_head: "has an exported head that this vault did not sign",
};
