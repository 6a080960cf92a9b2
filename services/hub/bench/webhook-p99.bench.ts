import { measureHalfLoad } from "./webhook-path.ts";

export default {
  name: "api/webhook-p99",
  unit: "ms p99",
  goal: { of: "ours", atMost: 50 },
  /** Every run starts a server of its own. */
  repeats: 3,
  run: measureHalfLoad,
};
