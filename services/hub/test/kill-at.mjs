// Loaded before the hub by the crash tests (`node --import`): ends the process with SIGKILL at the n-th step that the
// runtime tells of. The runtime knows nothing of it: it publishes its steps on a diagnostics channel for whoever listens.
import { subscribe } from "node:diagnostics_channel";

const at = Number(process.env["KILL_AT_STEP"] ?? Infinity);
let seen = 0;
subscribe("tributary:step", (step) => {
  seen += 1;
  if (seen !== at) return;
  process.stderr.write(`killed at step ${seen}: ${String(step)}\n`);
  process.kill(process.pid, "SIGKILL");
});
