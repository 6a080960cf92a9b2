import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { hash } from "node:crypto";
import { basename, join } from "node:path";
import { changelogVersions, CONTRACTS_CHANGELOG } from "./changelogs.ts";
import { GOLDEN, goldenFiles } from "./golden.ts";
import { BASELINE } from "./registry.ts";

/** What was released, oldest first. It is how the gate knows that a payload was taken away, or a baseline swapped. */
export const RELEASES = `${GOLDEN}/releases.json`;

/** The baseline to be, until the release that it belongs to counts. */
export const NEXT_BASELINE = "proto/baseline.next.binpb";

export interface ReleaseRecord {
  readonly version: string;
  /** SHA-256 of the baseline as this release left it, hexadecimal. */
  readonly baseline: string;
  /** By event type: SHA-256 of its golden payload. */
  readonly payloads: Readonly<Record<string, string>>;
}

/** @throws Error that names the file when it is not what a release writes. */
export function readReleases(root: string): readonly ReleaseRecord[] {
  const file = join(root, RELEASES);
  if (!existsSync(file)) return [];
  try {
    return JSON.parse(readFileSync(file, "utf8")) as ReleaseRecord[];
  } catch (error) {
    throw new Error(`${RELEASES}: is not JSON; "git restore ${RELEASES}" brings it back`, { cause: error });
  }
}

/** Writes down the release that the golden folder and the next baseline hold, in one step: from now on it counts. */
export function recordRelease(root: string, version: string): void {
  const payloads = goldenFiles(root).filter((file) => file.startsWith(`${GOLDEN}/${version}/`));
  const record: ReleaseRecord = {
    version,
    baseline: digest(root, NEXT_BASELINE),
    payloads: Object.fromEntries(payloads.map((file) => [basename(file, ".binpb"), digest(root, file)])),
  };
  const draft = join(root, `${RELEASES}.next`);
  writeFileSync(draft, `${JSON.stringify([...readReleases(root), record], null, 2)}\n`);
  renameSync(draft, join(root, RELEASES));
}

/** By event type: the first release that had it. */
export function firstReleases(releases: readonly ReleaseRecord[]): ReadonlyMap<string, string> {
  const since = new Map<string, string>();
  for (const { version, payloads } of releases)
    for (const type of Object.keys(payloads)) since.set(type, since.get(type) ?? version);
  return since;
}

/** Compares what lies in the repository with what was written down when it was released. */
export function checkReleases(root: string): string[] {
  try {
    return compareReleases(root, readReleases(root));
  } catch (error) {
    return [error instanceof Error ? error.message : `${RELEASES}: cannot be read`];
  }
}

function compareReleases(root: string, releases: readonly ReleaseRecord[]): string[] {
  const findings: string[] = [];
  const recorded = new Set<string>();
  for (const { version, payloads } of releases)
    for (const [type, expected] of Object.entries(payloads)) {
      const file = `${GOLDEN}/${version}/${type}.binpb`;
      recorded.add(file);
      if (!existsSync(join(root, file))) findings.push(`${file}: was released and is gone; ${RESTORE}`);
      else if (digest(root, file) !== expected) findings.push(`${file}: is not what was released; ${RESTORE}`);
    }
  for (const file of goldenFiles(root))
    if (!recorded.has(file)) findings.push(`${file}: belongs to no release in ${RELEASES}; delete it`);
  const versions = new Set(releases.map(({ version }) => version));
  for (const version of changelogVersions(root))
    if (!versions.has(version))
      findings.push(`${RELEASES}: ${version} is missing, and ${CONTRACTS_CHANGELOG} tells of it`);
  return [...findings, ...baselineFindings(root, releases.at(-1))];
}

function baselineFindings(root: string, last: ReleaseRecord | undefined): string[] {
  if (existsSync(join(root, NEXT_BASELINE)))
    return [
      `${NEXT_BASELINE}: a release was interrupted; "npm run contracts:release" with the same version finishes it or begins anew`,
    ];
  // That there is none is said where it is compared with.
  if (last === undefined || !existsSync(join(root, BASELINE)) || digest(root, BASELINE) === last.baseline) return [];
  return [
    `${BASELINE}: is not what ${last.version} left; only "npm run contracts:release" moves it. "git restore ${BASELINE}" brings it back`,
  ];
}

const RESTORE = '"git restore proto/golden" brings it back';

/** @returns below 0 when `a` is older than `b`. Both are `<major>.<minor>.<patch>`. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number)) as [number[], number[]];
  return left.reduce((found, part, index) => found || part - (right[index] ?? 0), 0);
}

/** SHA-256 of a file, hexadecimal. */
export const digest = (root: string, file: string): string => hash("sha256", readFileSync(join(root, file)), "hex");
