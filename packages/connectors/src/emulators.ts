import { type Emulator, type EmulatorOptions, type RunningEmulator, startEmulator } from "@tributary/sandbox";
import { todoistEmulator } from "./todoist/emulator.ts";

/** A simulated provider, as the sandbox service starts it. */
export interface EmulatorEntry<World = unknown> {
  /** Id of the connector. */
  readonly id: string;
  readonly defaultPort: number;
  /** The real origins that it stands in for. */
  readonly origins: readonly string[];
  start(options: EmulatorOptions): Promise<RunningEmulator<World>>;
}

const entry = <World>(
  emulator: Emulator<World>,
  defaultPort: number,
  origins: readonly string[],
): EmulatorEntry<World> => ({
  id: emulator.id,
  defaultPort,
  origins,
  start: (options) => startEmulator(emulator, options),
});

/** Every simulated provider, one line each; ports count up from 4610. */
export const emulators = {
  todoist: entry(todoistEmulator, 4610, ["https://api.todoist.com", "https://app.todoist.com", "https://todoist.com"]),
} as const;

export { todoistTriggers } from "./todoist/emulator-triggers.ts";
export { todoistAccount, todoistClient } from "./todoist/emulator.ts";
