import { command } from "../command.ts";

/** Runs buf in a checkout. @returns its complaints, one a line; none when it is content. */
export async function buf(root: string, args: readonly string[]): Promise<string[]> {
  const run = await command("buf", args, { cwd: root });
  if (run.code === 0) return [];
  const lines = run.output.split("\n").filter((line) => line.trim() !== "");
  return lines.length > 0 ? lines : [`buf ${args[0] ?? ""} ended with ${run.code} and no message`];
}
