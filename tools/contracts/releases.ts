import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { hash } from "node:crypto";
import { basename, join } from "node:path";
import { GOLDEN, goldenFiles } from "./golden.ts";
import { BASELINE } from "./registry.ts";

/** What was released, oldest first. It is how the gate knows that a payload was taken away, or a baseline swapped. */
export const RELEASES = `${GOLDEN}/releases.json`;

export interface ReleaseRecord {
  readonly version: string;
  /** SHA-256 of the baseline as this release left it, hexadecimal. */
  readonly baseline: string;
  /** By event type: SHA-256 of its golden payload. */
  readonly payloads: Readonly<Record<string, string>>;
}

export function readReleases(root: string): readonly ReleaseRecord[] {
  const file = join(root, RELEASES);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as ReleaseRecord[]) : [];
}

/** Writes down the release that the golden folder and the baseline hold now; the same version is replaced. */
export function recordRelease(root: string, version: string): void {
  const payloads = goldenFiles(root).filter((file) => file.startsWith(`${GOLDEN}/${version}/`));
  const record: ReleaseRecord = {
    version,
    baseline: digest(root, BASELINE),
    payloads: Object.fromEntries(payloads.map((file) => [basename(file, ".binpb"), digest(root, file)])),
  };
  const others = readReleases(root).filter((each) => each.version !== version);
  writeFileSync(join(root, RELEASES), `${JSON.stringify([...others, record], null, 2)}\n`);
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
  const releases = readReleases(root);
  const last = releases.at(-1);
  const findings: string[] = [];
  const recorded = new Set<string>();
  for (const { version, payloads } of releases)
    for (const [type, expected] of Object.entries(payloads)) {
      const file = `${GOLDEN}/${version}/${type}.binpb`;
      recorded.add(file);
      if (!existsSync(join(root, file))) findings.push(`${file}: was released and is gone`);
      else if (digest(root, file) !== expected) findings.push(`${file}: is not what was released`);
    }
  for (const file of goldenFiles(root))
    if (!recorded.has(file)) findings.push(`${file}: belongs to no release in ${RELEASES}`);
  if (last !== undefined && existsSync(join(root, BASELINE)) && digest(root, BASELINE) !== last.baseline)
    findings.push(`${BASELINE}: is not what ${last.version} left; only "npm run contracts:release" moves it`);
  return findings;
}

/** @returns below 0 when `a` is older than `b`. Both are `<major>.<minor>.<patch>`. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number)) as [number[], number[]];
  return left.reduce((found, part, index) => found || part - (right[index] ?? 0), 0);
}

const digest = (root: string, file: string): string => hash("sha256", readFileSync(join(root, file)), "hex");
