export { type BareEvent, type BarePublisher, openBarePublisher } from "./bare-publisher.ts";
export { type PrivateNats, type PrivateNatsOptions, startPrivateNats } from "./private-nats.ts";
export { sampleBatch } from "./sample-batch.ts";
export { createRelayStage, type RelayStage, unpublished, until, upTo, type WriteOptions } from "./relay-stage.ts";
export { openStreamSurgeon, type StreamedMessage, type StreamSurgeon } from "./stream-surgeon.ts";
// For tests of packages that know the pipeline by its harness alone.
export { natsConfig, passwordVariable } from "../nats-permissions.ts";
export { applyStreams } from "../stream-settings.ts";
