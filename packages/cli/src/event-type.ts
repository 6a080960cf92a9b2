import { eventTypes } from "@tributary/contracts";
import { InvalidArgumentError } from "commander";
import { several } from "./moment.ts";

/** The `--type` of every command: a name that the contracts do not know is a mistake in the command line. */
export function oneEventType(name: string): string {
  if (!eventTypes.has(name))
    throw new InvalidArgumentError("No event type is called that; `tributary events schema` lists them.");
  return name;
}

/** {@link oneEventType}, for an option that may be given several times. */
export const eventType = (name: string, before?: readonly string[]): readonly string[] =>
  several(oneEventType(name), before);
