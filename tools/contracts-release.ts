// `npm run contracts:release -- <version> [--replace]`: see releaseContracts.
import { releaseContracts } from "./contracts/release.ts";
import { repositoryRoot } from "./tree.ts";

const version = process.argv.slice(2).find((arg) => !arg.startsWith("--"));
if (version === undefined) {
  process.stderr.write("usage: npm run contracts:release -- <major.minor.patch> [--replace]\n");
  process.exitCode = 2;
} else {
  try {
    const release = await releaseContracts(repositoryRoot, version, process.argv.includes("--replace"));
    process.stdout.write(`Released contracts ${release.version}: ${release.eventTypes} event types\n`);
    for (const change of release.changes) process.stdout.write(`  ${change}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : "the release failed"}\n`);
    process.exitCode = 1;
  }
}
