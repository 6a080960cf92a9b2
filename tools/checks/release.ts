import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toBinary, toJson } from "@bufbuild/protobuf";
import { command } from "../command.ts";
import { BASELINE } from "./contracts.ts";
import { filledMessage } from "./filled-message.ts";
import { eventTypesOf, GOLDEN, registryOf } from "./golden.ts";

/** What a release holds. */
export interface Release {
  readonly version: string;
  readonly eventTypes: number;
}

/**
 * Declares `proto/` as released: moves the baseline that the gate compares with, keeps one payload of every event type
 * for ever, and writes a line into CHANGELOG.md. What was released is never broken: an incompatible contract is a new
 * package, `v2`, beside the old one.
 * @param replace do a release again that nobody has used yet; its own baseline is then no obstacle, older payloads are.
 * @throws Error whose message is for the person who called: the version exists, buf's findings.
 */
export async function releaseContracts(root: string, version: string, replace: boolean): Promise<Release> {
  const folder = join(root, GOLDEN, version);
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error(`not a version: a release is <major>.<minor>.<patch>`);
  if (existsSync(folder) && !replace) throw new Error(`${version} was released already; --replace does it again`);
  await buf(root, "lint");
  if (existsSync(join(root, BASELINE)) && !replace) await buf(root, "breaking", "--against", BASELINE);
  // Without comments, so that a corrected comment is no change of what was released.
  await buf(root, "build", "--exclude-source-info", "-o", BASELINE);

  const registry = registryOf(readFileSync(join(root, BASELINE)));
  const types = eventTypesOf(registry);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const type of types) {
    const message = filledMessage(type);
    const json = JSON.stringify(toJson(type, message, { registry }), null, 2);
    writeFileSync(join(folder, `${type.typeName}.binpb`), toBinary(type, message));
    writeFileSync(join(folder, `${type.typeName}.json`), `${json}\n`);
  }
  recordInChangelog(root, version, `- Contracts ${version}: ${types.length} event types.`);
  return { version, eventTypes: types.length };
}

/** Below the version's heading, which is written when it is missing; the line of the same release is replaced. */
function recordInChangelog(root: string, version: string, line: string): void {
  const file = join(root, "CHANGELOG.md");
  const before = existsSync(file) ? readFileSync(file, "utf8") : "# Changelog\n\nFor people who upgrade.\n";
  const known = new RegExp(`^- Contracts ${version.replaceAll(".", "\\.")}:.*$`, "m");
  if (known.test(before)) return writeFileSync(file, before.replace(known, line));
  const heading = `## ${version}\n`;
  // The newest version stands first.
  const ready = before.includes(heading) ? before : before.replace(/\n(?=## )|$/, `\n${heading}\n`);
  return writeFileSync(file, ready.replace(`${heading}\n`, `${heading}\n${line}\n`));
}

async function buf(root: string, ...args: string[]): Promise<void> {
  const run = await command("buf", args, { cwd: root });
  if (run.code !== 0) throw new Error(run.output.trim());
}
