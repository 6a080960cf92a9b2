// `npm run contracts:release -- <version>`: see releaseContracts.
import { releaseContracts } from "./contracts/release.ts";
import { readReleases } from "./contracts/releases.ts";
import { repositoryRoot } from "./tree.ts";

const [version, ...rest] = process.argv.slice(2);
if (version === undefined || version.startsWith("-") || rest.length > 0) {
  const newest = readReleases(repositoryRoot).at(-1)?.version ?? "none yet";
  process.stderr.write(`usage: npm run contracts:release -- <major.minor.patch>; the newest release is ${newest}\n`);
  process.exitCode = 2;
} else {
  try {
    const release = await releaseContracts(repositoryRoot, version);
    process.stdout.write(`Released contracts ${release.version}: ${release.eventTypes} event types\n`);
    for (const change of release.changes) process.stdout.write(`  ${change}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : "the release failed"}\n`);
    process.exitCode = 1;
  }
}
