import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type FileRegistry, toBinary, toJson } from "@bufbuild/protobuf";
import { checkContracts } from "../checks/contracts.ts";
import { buf } from "./buf.ts";
import { contractChanges } from "./changes.ts";
import { filledMessage } from "./filled-message.ts";
import { generateContracts } from "./generate.ts";
import { GOLDEN } from "./golden.ts";
import { BASELINE, eventTypesOf, registryOf } from "./registry.ts";
import { compareVersions, readReleases, recordRelease } from "./releases.ts";

/** What a release holds. */
export interface Release {
  readonly version: string;
  readonly eventTypes: number;
  /** What it adds to the one before, a line each. */
  readonly changes: readonly string[];
}

/** What each release added, newest first; written by the release alone. */
export const CONTRACTS_CHANGELOG = "proto/CHANGELOG.md";

/**
 * Declares `proto/` as released: moves the baseline that the gate compares with, keeps one payload of every event type
 * for ever, writes down what the release holds, lists what it adds in proto/CHANGELOG.md, and tells CHANGELOG.md in a
 * line. What was released is never broken: an incompatible contract is a new package, `v2`, beside the old one.
 * @param replace do the newest release again, which nobody has used yet; its own baseline is then no obstacle, older
 * payloads are.
 * @throws Error whose message is for the person who called: a version that is not next, or the findings of the gate;
 * nothing was written then.
 */
export async function releaseContracts(root: string, version: string, replace: boolean): Promise<Release> {
  refuseVersion(root, version, replace);
  const { findings } = await checkContracts(root, { compare: existsSync(join(root, BASELINE)) && !replace });
  const obstacles = findings.filter((finding) => !isOfFirstRelease(root, finding));
  if (obstacles.length > 0) throw new Error(obstacles.join("\n"));
  const before = baselineOf(root);
  // Without comments, so that a corrected comment is no change of what was released.
  const failed = await buf(root, ["build", "--exclude-source-info", "-o", BASELINE]);
  if (failed.length > 0) throw new Error(failed.join("\n"));

  const registry = registryOf(readFileSync(join(root, BASELINE)));
  const eventTypes = keepPayloads(root, version, registry);
  recordRelease(root, version);
  const changes = replace ? keptChanges(root, version, before, registry) : contractChanges(before, registry);
  recordChanges(root, version, changes);
  recordInChangelog(root, version, `- Contracts ${version}: ${eventTypes} event types.`);
  // The catalogue says with which release a type came.
  await generateContracts(root);
  return { version, eventTypes, changes };
}

function refuseVersion(root: string, version: string, replace: boolean): void {
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error("not a version: a release is <major>.<minor>.<patch>");
  const last = readReleases(root).at(-1)?.version;
  if (last === undefined) return;
  if (replace && version !== last) throw new Error(`only the newest release, ${last}, can be done again`);
  if (!replace && readReleases(root).some((each) => each.version === version))
    throw new Error(`${version} was released already; --replace does it again`);
  if (!replace && compareVersions(version, last) <= 0) throw new Error(`${version} is not newer than ${last}`);
}

/** Before the first release there is no payload, and nothing is wrong with that. */
const isOfFirstRelease = (root: string, finding: string): boolean =>
  readReleases(root).length === 0 && finding === `${GOLDEN}: no released payload`;

function baselineOf(root: string): FileRegistry | undefined {
  const file = join(root, BASELINE);
  return existsSync(file) ? registryOf(readFileSync(file)) : undefined;
}

function keepPayloads(root: string, version: string, registry: FileRegistry): number {
  const folder = join(root, GOLDEN, version);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const types = eventTypesOf(registry);
  for (const type of types) {
    const message = filledMessage(type);
    const json = JSON.stringify(toJson(type, message, { registry }), null, 2);
    writeFileSync(join(folder, `${type.typeName}.binpb`), toBinary(type, message));
    writeFileSync(join(folder, `${type.typeName}.json`), `${json}\n`);
  }
  return types.length;
}

const CHANGES_HEAD = `# What each release of the contracts added

Written by \`npm run contracts:release\`. Nothing is ever taken away: an incompatible contract is a new package beside the old one.
`;

/** A release that is done again is compared with its own first try; the older lines stay and the new ones follow. */
function keptChanges(root: string, version: string, before: FileRegistry | undefined, now: FileRegistry): string[] {
  const [, section = ""] = changesText(root).split(`\n## ${version}\n`);
  const kept = section.split("\n## ")[0]?.match(/(?<=^- ).+$/gm) ?? [];
  return [...new Set([...kept.filter((line) => line !== NOTHING), ...contractChanges(before, now)])];
}

const NOTHING = "nothing but words";

function recordChanges(root: string, version: string, changes: readonly string[]): void {
  const lines = changes.length === 0 ? [NOTHING] : changes;
  const [head = "", ...sections] = changesText(root).split("\n## ");
  const others = sections.filter((section) => !section.startsWith(`${version}\n`)).map((section) => section.trimEnd());
  const own = `${version}\n\n${lines.map((line) => `- ${line}`).join("\n")}`;
  writeFileSync(join(root, CONTRACTS_CHANGELOG), `${[head.trimEnd(), own, ...others].join("\n\n## ")}\n`);
}

function changesText(root: string): string {
  const file = join(root, CONTRACTS_CHANGELOG);
  return existsSync(file) ? readFileSync(file, "utf8") : CHANGES_HEAD;
}

/** Below the version's heading, which is written when it is missing; the line of the same release is replaced. */
function recordInChangelog(root: string, version: string, line: string): void {
  const file = join(root, "CHANGELOG.md");
  const before = existsSync(file) ? readFileSync(file, "utf8") : "# Changelog\n\nFor people who upgrade.\n";
  const known = new RegExp(`^- Contracts ${version.replaceAll(".", "\\.")}:.*$`, "m");
  if (known.test(before)) return writeFileSync(file, before.replace(known, line));
  const heading = `## ${version}\n`;
  // The newest version stands first, below what is not released.
  const ready = before.includes(heading) ? before : before.replace(/\n(?=## \d)|$/, `\n${heading}\n`);
  return writeFileSync(file, ready.replace(`${heading}\n`, `${heading}\n${line}\n`));
}
