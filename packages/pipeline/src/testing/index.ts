export { type PrivateNats, startPrivateNats } from "./private-nats.ts";
export { sampleBatch } from "./sample-batch.ts";
