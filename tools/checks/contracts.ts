import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../command.ts";
import { byText, type CheckResult } from "../tree.ts";
import { checkGolden } from "./golden.ts";

/** The released contracts, as an image of buf. Only `npm run contracts:release` moves it. */
export const BASELINE = "proto/baseline.binpb";
const GENERATED = "packages/contracts/src/gen";

/**
 * The contracts gate: style and comments, compatibility with what was released, generated code that is what the protos
 * say, and every payload ever released still decodes to the same values. Needs only `proto/` and buf's two files.
 */
export async function checkContracts(root: string): Promise<CheckResult> {
  const scratch = mkdtempSync(join(tmpdir(), "tributary-contracts-"));
  try {
    const image = join(scratch, "image.binpb");
    const built = await buf(root, ["build", "-o", image]);
    // What does not compile cannot be compared; the compiler's own words are the findings.
    if (built.length > 0) return { seen: "proto/", findings: built };
    const golden = checkGolden(root, readFileSync(image));
    const findings = await Promise.all([
      buf(root, ["lint", "--error-format=text"]),
      breaking(root),
      drift(root, scratch),
    ]);
    return {
      seen: `${golden.types} event types, ${golden.payloads} released payloads`,
      findings: [...findings.flat(), ...golden.findings],
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function breaking(root: string): Promise<string[]> {
  if (!existsSync(join(root, BASELINE))) return [`${BASELINE}: missing; nothing to compare with`];
  const findings = await buf(root, ["breaking", "--against", BASELINE, "--error-format=text"]);
  return findings.map((line) => `${line} [breaks what was released]`);
}

/** Generates into a folder of its own, so that the check never changes the checkout. */
async function drift(root: string, scratch: string): Promise<string[]> {
  const failed = await buf(root, ["generate", "-o", scratch]);
  if (failed.length > 0) return failed;
  const wanted = treeOf(join(scratch, GENERATED));
  const present = treeOf(join(root, GENERATED));
  const names = [...new Set([...wanted.keys(), ...present.keys()])].toSorted(byText);
  return names
    .filter((name) => wanted.get(name) !== present.get(name))
    .map((name) => `${GENERATED}/${name}: not what proto/ says; "npm run generate" writes it`);
}

/** buf's complaints, one a line; empty when it is content. */
async function buf(root: string, args: readonly string[]): Promise<string[]> {
  const run = await command("buf", args, { cwd: root });
  if (run.code === 0) return [];
  const lines = run.output.split("\n").filter((line) => line.trim() !== "");
  return lines.length > 0 ? lines : [`buf ${args[0] ?? ""} ended with ${run.code} and no message`];
}

function treeOf(folder: string): Map<string, string> {
  if (!existsSync(folder)) return new Map();
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), readFileSync(path, "utf8")];
    }),
  );
}
