import { measureRate } from "./webhook-path.ts";

export default {
  name: "api/webhook",
  unit: "req/s",
  goal: { of: "ratio", atLeast: 0.5 },
  /** Every run starts a server of its own. */
  repeats: 3,
  run: measureRate,
};
