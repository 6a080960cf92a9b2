import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryRoot } from "../tree.ts";
import { generateContracts } from "./generate.ts";
import { releaseContracts } from "./release.ts";
import { THING, THING_TEXT } from "./testing-thing.ts";

/** Copies of a small released tree, for tests that plant something and look at what the gate says. */
export interface TestingTrees {
  /** A copy of its own. */
  copy(): string;
  end(): void;
}

/** The contracts of tasks as they are and a file that holds everything, released as 1.0.0; buf's configuration and the examples are the checkout's. */
export async function createTestingTrees(): Promise<TestingTrees> {
  const scratch = mkdtempSync(join(tmpdir(), "tributary-contracts-test-"));
  const released = join(scratch, "released");
  for (const path of ["buf.yaml", "buf.gen.yaml", "proto/tributary/options", "proto/tributary/task"])
    cpSync(join(repositoryRoot, path), join(released, path), { recursive: true });
  for (const name of readdirSync(join(repositoryRoot, "proto/examples")))
    if (name.startsWith("tributary.task."))
      cpSync(join(repositoryRoot, "proto/examples", name), join(released, "proto/examples", name));
  mkdirSync(join(released, THING, ".."), { recursive: true });
  writeFileSync(join(released, THING), THING_TEXT);
  writeFileSync(join(released, "proto/examples/tributary.thing.v1.ThingHappened.json"), '{ "title": "A thing" }\n');
  await generateContracts(released);
  await releaseContracts(released, "1.0.0");
  return {
    copy: () => {
      const root = mkdtempSync(join(scratch, "tree-"));
      cpSync(released, root, { recursive: true });
      return root;
    },
    end: () => rmSync(scratch, { recursive: true, force: true }),
  };
}

/** @throws Error when the text is not there: a plant that plants nothing proves nothing. */
export function plant(root: string, file: string, from: string | RegExp, to: string): void {
  const before = readFileSync(join(root, file), "utf8");
  const after = before.replace(from, to);
  if (after === before) throw new Error(`${file} does not hold ${String(from)}`);
  writeFileSync(join(root, file), after);
}

export const TASK = "proto/tributary/task/v1/task.proto";
export const TASK_EVENTS = "proto/tributary/task/v1/task_events.proto";
