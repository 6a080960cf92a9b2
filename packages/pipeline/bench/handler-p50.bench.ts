import { measureHandler } from "./latency-path.ts";

export default {
  name: "pipeline/handler-p50",
  unit: "ms p50",
  goal: { of: "ours", atMost: 1 },
  repeats: 3,
  run: () => measureHandler(0.5),
};
