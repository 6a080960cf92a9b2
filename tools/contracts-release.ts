// `npm run contracts:release -- <version> [--replace]`: declares proto/ as released. Moves proto/baseline.binpb, which the
// gate compares with from then on; keeps one payload of every event type for ever; writes a line into CHANGELOG.md.
// `--replace` does a release again that nobody has used yet.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DescMessage, toBinary, toJson } from "@bufbuild/protobuf";
import { BASELINE } from "./checks/contracts.ts";
import { eventTypesOf, GOLDEN, registryOf } from "./checks/golden.ts";
import { command } from "./command.ts";
import { filledMessage } from "./filled-message.ts";
import { repositoryRoot as root } from "./tree.ts";

const version = process.argv.slice(2).find((arg) => !arg.startsWith("--"));
const replace = process.argv.includes("--replace");
if (version === undefined || !/^\d+\.\d+\.\d+$/.test(version))
  stop("usage: npm run contracts:release -- <major.minor.patch> [--replace]", 2);
const folder = join(root, GOLDEN, version);
if (existsSync(folder) && !replace) stop(`${version} was released already; --replace does it again`, 2);

await buf("lint");
// What was released is never broken: an incompatible contract is a new package, `v2`, beside the old one.
if (existsSync(join(root, BASELINE)) && !replace) await buf("breaking", "--against", BASELINE);
await buf("build", "--exclude-source-info", "-o", BASELINE);

const registry = registryOf(readFileSync(join(root, BASELINE)));
const types = eventTypesOf(registry);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const type of types) writeGolden(type);
recordInChangelog(`- Contracts ${version}: ${types.length} event types.`);
process.stdout.write(`Released contracts ${version}: ${types.length} event types\n`);

function writeGolden(type: DescMessage): void {
  const message = filledMessage(type);
  writeFileSync(join(folder, `${type.typeName}.binpb`), toBinary(type, message));
  writeFileSync(
    join(folder, `${type.typeName}.json`),
    `${JSON.stringify(toJson(type, message, { registry }), null, 2)}\n`,
  );
}

/** Below the version's heading, which is written when it is missing; a line of the same release is replaced. */
function recordInChangelog(line: string): void {
  const file = join(root, "CHANGELOG.md");
  const before = existsSync(file) ? readFileSync(file, "utf8") : "# Changelog\n\nFor people who upgrade.\n";
  const rest = before.replace(new RegExp(`^- Contracts ${version?.replaceAll(".", "\\.")}:.*\n`, "m"), "");
  const heading = `## ${version}\n`;
  const withHeading = rest.includes(heading) ? rest : rest.replace(/\n(?=## )|$/, `\n${heading}\n`);
  writeFileSync(file, withHeading.replace(`${heading}\n`, `${heading}\n${line}\n`));
}

async function buf(...args: string[]): Promise<void> {
  const run = await command("buf", args, { cwd: root });
  if (run.code !== 0) stop(run.output.trim(), 1);
}

function stop(message: string, code: number): never {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}
