// `npm run contracts:export -- <folder>`: see exportContracts.
import { resolve } from "node:path";
import { exportContracts } from "./contracts/export.ts";
import { repositoryRoot } from "./tree.ts";

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write("usage: npm run contracts:export -- <empty folder>\n");
  process.exitCode = 2;
} else {
  try {
    const { version, unreleased } = await exportContracts(repositoryRoot, resolve(folder));
    const what = version === "" ? "Contracts without a release" : `Contracts ${version}`;
    process.stdout.write(`${what}${unreleased ? ", and what is not released yet" : ""}, written to ${folder}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : "the export failed"}\n`);
    process.exitCode = 1;
  }
}
