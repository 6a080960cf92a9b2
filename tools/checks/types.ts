import { join } from "node:path";
import { command } from "../command.ts";
import { type CheckResult, sourceFiles } from "../tree.ts";

/**
 * The strict type check of the whole tree by TypeScript 7. `node_modules/.bin/tsc` is TypeScript 6, which is there only
 * for its JavaScript API.
 */
export async function checkTypes(root: string): Promise<CheckResult> {
  const compiler = join(root, "node_modules/typescript-7/bin/tsc");
  const run = await command(process.execPath, [compiler, "-p", ".", "--listFilesOnly", "false"], { cwd: root });
  const files = (await sourceFiles(root)).filter((file) => file.endsWith(".ts"));
  const lines = run.output.split("\n").filter((line) => line.trim() !== "");
  // A compiler that fails without a word is a finding as well.
  const findings = run.code === 0 ? [] : lines.length > 0 ? lines : [`tsc ended with ${run.code} and no message`];
  return { seen: `${files.length} TypeScript files`, findings };
}
