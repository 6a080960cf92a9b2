import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileRegistry } from "@bufbuild/protobuf";
import { checkBreaking } from "../contracts/breaking.ts";
import { buf } from "../contracts/buf.ts";
import { CONSUMERS } from "../contracts/consumer-files.ts";
import { checkConsumers } from "../contracts/consumers.ts";
import { checkExamples } from "../contracts/examples.ts";
import { checkGenerated } from "../contracts/generate.ts";
import { checkGolden } from "../contracts/golden.ts";
import { checkPromises } from "../contracts/promises.ts";
import { BASELINE, registryOf } from "../contracts/registry.ts";
import { checkReleases } from "../contracts/releases.ts";
import { checkWords } from "../contracts/words.ts";
import type { CheckResult } from "../tree.ts";

/** What the gate looks at besides the checkout itself. */
export interface ContractsOptions {
  /** More folders of consumers, such as one in a subscriber's own repository. */
  readonly consumers?: readonly string[];
}

/**
 * The contracts gate: style and comments; compatibility with what was released, in buf's eyes and in those of the
 * consumers that say what they read; every payload ever released still there and decoding to the same values; an
 * example for each event; and, when all that is well, generated files that are what the protos say. Needs only
 * `proto/`, buf's two files and the generated folders.
 */
export async function checkContracts(root: string, options: ContractsOptions = {}): Promise<CheckResult> {
  const scratch = mkdtempSync(join(tmpdir(), "tributary-contracts-"));
  try {
    const image = join(scratch, "image.binpb");
    const built = await buf(root, ["build", "-o", image]);
    // What does not compile cannot be compared; the compiler's own words are the findings.
    if (built.length > 0) return { seen: "proto/", findings: built };
    const now = registryOf(readFileSync(image));
    const released = readBaseline(root);
    const golden = checkGolden(root, now);
    const readers = checkConsumers(root, released, now, [CONSUMERS, ...(options.consumers ?? [])]);
    const style = await Promise.all([buf(root, ["lint", "--error-format=text"]), checkBreaking(root, released)]);
    const findings = [
      ...style.flat(),
      ...checkWords(now),
      ...(released === undefined ? [] : checkPromises(released, now)),
      ...golden.findings,
      ...checkReleases(root),
      ...checkExamples(root, now),
      ...readers.findings,
    ];
    return {
      seen: `${golden.types} event types, ${golden.payloads} released payloads, ${count(readers.consumers, "consumer")}`,
      // What follows from contracts that are wrong would only say everything twice.
      findings: findings.length > 0 ? findings : await checkGenerated(root, scratch, now),
      warnings: readers.warnings,
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Undefined when there is none that can be read, which checkBreaking says. */
function readBaseline(root: string): FileRegistry | undefined {
  try {
    return registryOf(readFileSync(join(root, BASELINE)));
  } catch {
    return undefined;
  }
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;
