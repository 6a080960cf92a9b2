import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { command } from "../command.ts";
import { type CheckResult, sourceFiles } from "../tree.ts";

/**
 * The strict type check of the whole tree by TypeScript 7. `node_modules/.bin/tsc` is TypeScript 6, which is there only
 * for its JavaScript API.
 */
export async function checkTypes(root: string): Promise<CheckResult> {
  const compiler = join(root, "node_modules/typescript-7/bin/tsc");
  const files = (await sourceFiles(root)).filter((file) => file.endsWith(".ts") && existsSync(join(root, file)));
  const run = await command(process.execPath, [compiler, "-p", ".", "--listFiles", "--pretty", "false"], { cwd: root });
  const lines = run.output.split("\n").filter((line) => line.trim() !== "");
  const read = new Set(lines);
  // A message's explanations follow it, indented.
  const messages = lines
    .filter((line) => !isAbsolute(line))
    .join("\n")
    .split(/\n(?=\S)/)
    .filter((message) => message !== "");
  // A compiler that fails without a word, and a file that it was never shown, are findings as well.
  if (run.code !== 0 && messages.length === 0) messages.push(`tsc ended with ${run.code} and no message`);
  const unread = files.filter((file) => !read.has(join(root, file)));
  const findings = [...messages, ...unread.map((file) => `${file}: outside "include" in tsconfig.json`)];
  return { seen: `${files.length} TypeScript files`, findings };
}
