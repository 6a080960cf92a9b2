import { measurePubAck } from "./latency-path.ts";

export default { name: "pipeline/puback-p50", unit: "ms p50", repeats: 3, run: () => measurePubAck(0.5) };
