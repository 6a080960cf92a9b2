import type { MakeCommand } from "./command-line.ts";
import { consumersCommand } from "./consumers.ts";
import { deadLettersCommand } from "./dead-letters.ts";
import { eventsCommand } from "./events.ts";
import { listenCommand } from "./listen.ts";
import { tailCommand } from "./tail.ts";
import { triggerCommand } from "./trigger.ts";

/** The commands that talk to a running hub over its public API, and need nothing else of it. */
export const clientCommands: readonly MakeCommand[] = [
  tailCommand,
  listenCommand,
  triggerCommand,
  eventsCommand,
  consumersCommand,
  deadLettersCommand,
];
