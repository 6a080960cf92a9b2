// Runs seeds in a process of its own, because the runtime gets other timers here: `node --import hooks.ts worker.ts`. Sends
// each result to whoever started it, and ends when told to.
import { openSimDatabase } from "./sim-database.ts";
import { runSeed } from "./run-seed.ts";

process.on("disconnect", () => process.exit(1));

const database = await openSimDatabase();
process.on("message", (seed: number) => {
  void runSeed(database, seed).then((result) => process.send?.(result));
});
process.send?.("ready");
