import { measureHandler } from "./latency-path.ts";

export default {
  name: "pipeline/handler-p99",
  unit: "ms p99",
  goal: { of: "ours", atMost: 5 },
  repeats: 3,
  run: () => measureHandler(0.99),
};
