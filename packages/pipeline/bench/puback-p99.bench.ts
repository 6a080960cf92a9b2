import { measurePubAck } from "./latency-path.ts";

export default { name: "pipeline/puback-p99", unit: "ms p99", repeats: 3, run: () => measurePubAck(0.99) };
