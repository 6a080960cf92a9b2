import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type FileRegistry, toBinary, toJson } from "@bufbuild/protobuf";
import { checkContracts } from "../checks/contracts.ts";
import { buf } from "./buf.ts";
import { forgetChanges, recordChanges, recordInChangelog } from "./changelogs.ts";
import { contractChanges } from "./changes.ts";
import { filledMessage } from "./filled-message.ts";
import { generateContracts } from "./generate.ts";
import { GOLDEN } from "./golden.ts";
import { BASELINE, eventTypesOf, registryOf } from "./registry.ts";
import { compareVersions, digest, NEXT_BASELINE, readReleases, recordRelease } from "./releases.ts";

/** What a release holds. */
export interface Release {
  readonly version: string;
  readonly eventTypes: number;
  /** What it adds to the one before, a line each. */
  readonly changes: readonly string[];
}

/**
 * Declares `proto/` as released: moves the baseline that the gate compares with, keeps one payload of every event type
 * for ever, writes down what the release holds, lists what it adds in proto/CHANGELOG.md, and tells CHANGELOG.md in a
 * line. What was released is never broken: an incompatible contract is a new package, `v2`, beside the old one.
 *
 * It is released once releases.json says so, which is written in one step. Killed before that, it is as if it had not
 * been tried: trying again begins anew. Killed after that, trying again finishes it.
 * @throws Error whose message is for the person who called: a version that is not next, nothing that is new, or the
 * findings of the gate; nothing was written then.
 */
export async function releaseContracts(root: string, version: string): Promise<Release> {
  if (!/^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}$/.test(version))
    throw new Error("not a version: a release is <major>.<minor>.<patch>");
  const unfinished = unfinishedRelease(root);
  if (unfinished === version) return finish(root, version, baselineOf(root));
  if (unfinished !== undefined)
    throw new Error(
      `the release of ${unfinished} was interrupted; "npm run contracts:release -- ${unfinished}" finishes it`,
    );
  refuseVersion(root, version);
  forget(root, version);
  const { findings } = await checkContracts(root);
  const obstacles = findings.filter((finding) => !isOfFirstRelease(root, finding));
  if (obstacles.length > 0) throw new Error(obstacles.join("\n"));
  const before = baselineOf(root);
  // Without comments, so that a corrected comment is no change of what was released.
  const failed = await buf(root, ["build", "--exclude-source-info", "-o", NEXT_BASELINE]);
  if (failed.length > 0) throw new Error(failed.join("\n"));
  const image = readFileSync(join(root, NEXT_BASELINE));
  if (before !== undefined && image.equals(readFileSync(join(root, BASELINE)))) {
    forget(root, version);
    throw new Error(`nothing new since ${readReleases(root).at(-1)?.version ?? "the baseline"}, comments aside`);
  }
  const registry = registryOf(image);
  keepPayloads(root, version, registry);
  recordChanges(root, version, contractChanges(before, registry));
  recordInChangelog(root, version, eventTypesOf(registry).length);
  recordRelease(root, version);
  return finish(root, version, before);
}

/** What is left to do once the release counts. */
async function finish(root: string, version: string, before: FileRegistry | undefined): Promise<Release> {
  // The catalogue says with which release a type came.
  await generateContracts(root);
  const registry = registryOf(readFileSync(join(root, NEXT_BASELINE)));
  // Last, because it is by this file that an interrupted release is known.
  renameSync(join(root, NEXT_BASELINE), join(root, BASELINE));
  return { version, eventTypes: eventTypesOf(registry).length, changes: contractChanges(before, registry) };
}

/** The release that counts already while its baseline still waits to be moved. */
function unfinishedRelease(root: string): string | undefined {
  const last = readReleases(root).at(-1);
  if (last === undefined || !existsSync(join(root, NEXT_BASELINE))) return undefined;
  return digest(root, NEXT_BASELINE) === last.baseline ? last.version : undefined;
}

/** Takes away what a release that never counted left. */
function forget(root: string, version: string): void {
  rmSync(join(root, NEXT_BASELINE), { force: true });
  rmSync(join(root, GOLDEN, version), { recursive: true, force: true });
  forgetChanges(root, version);
}

function refuseVersion(root: string, version: string): void {
  const releases = readReleases(root);
  const last = releases.at(-1)?.version;
  if (releases.some((each) => each.version === version))
    throw new Error(`${version} was released already, and what was released stays; the newest is ${last}`);
  if (last !== undefined && compareVersions(version, last) <= 0)
    throw new Error(`${version} is not newer than ${last}`);
}

/** Before the first release there is neither a payload nor a baseline, and nothing is wrong with that. */
const isOfFirstRelease = (root: string, finding: string): boolean =>
  readReleases(root).length === 0 &&
  (finding === `${GOLDEN}: no released payload` || finding.startsWith(`${BASELINE}: missing`));

function baselineOf(root: string): FileRegistry | undefined {
  const file = join(root, BASELINE);
  return existsSync(file) ? registryOf(readFileSync(file)) : undefined;
}

function keepPayloads(root: string, version: string, registry: FileRegistry): void {
  const folder = join(root, GOLDEN, version);
  mkdirSync(folder, { recursive: true });
  for (const type of eventTypesOf(registry)) {
    const message = filledMessage(type);
    const json = JSON.stringify(toJson(type, message, { registry }), null, 2);
    writeFileSync(join(folder, `${type.typeName}.binpb`), toBinary(type, message));
    writeFileSync(join(folder, `${type.typeName}.json`), `${json}\n`);
  }
}
