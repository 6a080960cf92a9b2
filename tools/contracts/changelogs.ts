import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What each release added, newest first; written by the release alone. */
export const CONTRACTS_CHANGELOG = "proto/CHANGELOG.md";

const HEAD = `# What each release of the contracts added

Written by \`npm run contracts:release\`. Nothing is ever taken away: an incompatible contract is a new package beside the old one.
`;

/** The releases that proto/CHANGELOG.md tells of, newest first. */
export const changelogVersions = (root: string): string[] =>
  [...changesText(root).matchAll(/^## (.+)$/gm)].map(([, version = ""]) => version);

/** Writes what a release adds above the releases before it. */
export function recordChanges(root: string, version: string, changes: readonly string[]): void {
  const [head = "", ...sections] = changesText(root).split("\n## ");
  // Only what lies outside the files of contracts differs: what they import.
  const lines = changes.length === 0 ? ["nothing that a subscriber sees"] : changes;
  const own = `${version}\n\n${lines.map((line) => `- ${line}`).join("\n")}`;
  write(root, [head, own, ...sections]);
}

/** Takes out what a release that was interrupted wrote there. */
export function forgetChanges(root: string, version: string): void {
  if (!changelogVersions(root).includes(version)) return;
  const sections = changesText(root).split("\n## ");
  write(
    root,
    sections.filter((section) => !section.startsWith(`${version}\n`)),
  );
}

/** A line for those who upgrade, among what is added and not released yet; the line of the same release is replaced. */
export function recordInChangelog(root: string, version: string, eventTypes: number): void {
  const file = join(root, "CHANGELOG.md");
  const text = existsSync(file) ? readFileSync(file, "utf8") : "# Changelog\n\nFor people who upgrade.\n";
  const line = `- Contracts ${version}: ${eventTypes} event types.`;
  const known = new RegExp(`^- Contracts ${version.replaceAll(".", "\\.")}:.*$`, "m");
  if (known.test(text)) return writeFileSync(file, text.replace(known, line));
  const [head = "", ...sections] = text.split(/\n(?=## )/);
  const [first = ""] = sections;
  const unreleased = first.startsWith("## Unreleased\n") ? sections.shift() : "## Unreleased\n";
  return writeFileSync(file, [head, withAddition(unreleased ?? "", line), ...sections].join("\n"));
}

/** Below the heading "Added", which comes first. */
function withAddition(section: string, line: string): string {
  if (section.includes("\n### Added\n\n")) return section.replace("\n### Added\n\n", `\n### Added\n\n${line}\n`);
  return section.replace("\n", `\n\n### Added\n\n${line}\n`);
}

function changesText(root: string): string {
  const file = join(root, CONTRACTS_CHANGELOG);
  return existsSync(file) ? readFileSync(file, "utf8") : HEAD;
}

function write(root: string, sections: readonly string[]): void {
  const text = sections.map((section) => section.trimEnd()).join("\n\n## ");
  writeFileSync(join(root, CONTRACTS_CHANGELOG), `${text}\n`);
}
