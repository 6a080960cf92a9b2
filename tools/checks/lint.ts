import { command } from "../command.ts";
import { type CheckResult, sourceFiles } from "../tree.ts";
import { checkDependencies } from "./dependencies.ts";
import { checkHouseRules } from "./house-rules.ts";

/** Everything about style that a machine can say: oxlint with types, oxfmt, and the rules of this house. */
export async function checkLint(root: string): Promise<CheckResult> {
  const files = await sourceFiles(root);
  const findings = [
    ...(await lintFindings(root)),
    ...(await formatFindings(root)),
    ...checkHouseRules(root, files),
    ...checkDependencies(root, files),
  ];
  return { seen: `${files.length} files`, findings };
}

async function lintFindings(root: string): Promise<string[]> {
  const run = await command("oxlint", ["--type-aware", "--deny-warnings", "--format=unix"], { cwd: root });
  if (run.code === 0) return [];
  const lines = run.output.split("\n").filter((line) => line.trim() !== "" && !/^\d+ problems?$/.test(line));
  return lines.length > 0 ? lines : [`oxlint ended with ${run.code} and no message`];
}

async function formatFindings(root: string): Promise<string[]> {
  const run = await command("oxfmt", ["--list-different", "."], { cwd: root });
  if (run.code === 0) return [];
  const names = run.output.split("\n").filter((line) => line.trim() !== "");
  return names.map((name) => `${name}: not formatted; "npm run format" does it`);
}
