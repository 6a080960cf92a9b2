import { channel } from "node:diagnostics_channel";
import type { CommandContext } from "./command-line.ts";

const steps = channel("tributary:step");
const EVERY_MS = 1000;

/**
 * Shows a long command's progress on standard error, one line a second at most and always the last of a stage.
 * @param say the line for a step.
 */
export function stepPrinter<T extends { readonly step: string; readonly done: number; readonly total: number }>(
  { stderr, now }: CommandContext,
  say: (step: T) => string,
): (step: T) => void {
  let printedAt = 0;
  return (step) => {
    steps.publish(`command.${step.step}`);
    const at = now().getTime();
    if (step.done < step.total && at - printedAt < EVERY_MS) return;
    if (step.total === 0) return;
    printedAt = at;
    stderr.write(`${say(step)}\n`);
  };
}
