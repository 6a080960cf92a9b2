import type { Connector } from "@tributary/sdk";
import type { Stage } from "./stage.ts";

/** One thing that a connector has to do right. Each starts from an empty database and the provider's seed. */
export interface Check {
  /** A sentence about the connector. */
  readonly name: string;
  /** Why it does not apply; undefined when it does. */
  exempt?(connector: Connector, stage: Pick<Stage, "person" | "control">): string | undefined;
  /** @throws ConformanceFailure. */
  run(stage: Stage): Promise<void>;
}

/** What is wrong with the connector, and what its author can do about it. */
export class ConformanceFailure extends Error {
  constructor(problem: string, advice: string) {
    super(`${problem}\n→ ${advice}`);
  }
  override get name(): string {
    return "ConformanceFailure";
  }
}

/** @throws ConformanceFailure when the condition does not hold. */
export function must(condition: boolean, problem: string, advice: string): asserts condition {
  if (!condition) throw new ConformanceFailure(problem, advice);
}

/** The code, or the class, of what an attempt ended with; "nothing" when it succeeded. */
export const codeOf = (error: unknown): string =>
  error === undefined
    ? "nothing"
    : error instanceof Error && "code" in error
      ? String(error.code)
      : error instanceof Error
        ? error.name
        : typeof error;
