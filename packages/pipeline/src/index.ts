export { APPEND_EVENTS_MAX, type Append, append, type EventBatch, type PendingEvent } from "./append.ts";
export {
  countConnectionEvents,
  deleteConnectionEvents,
  eventStrips,
  eventsAfter,
  lastConnectionEvents,
  type LedgerEvent,
  type LedgerPlace,
  type LedgerStep,
} from "./ledger.ts";
export { migrations } from "./migrations.ts";
export { dropExpiredPartitions, ensurePartitions, type RetentionOptions } from "./partitions.ts";
export { createHandOff, type HandOff, type Wake } from "./hand-off.ts";
export { SettlementRefused } from "./positions.ts";
export {
  ConsumerTaken,
  createEventStream,
  type EventStream,
  type EventStreamOptions,
  type Settlement,
  type StreamedEvent,
  type SubscribeOptions,
  WINDOW_MAX,
} from "./stream.ts";
export { type Relay, type RelayLog, type RelayOptions, type RelayStatus, startRelay } from "./relay.ts";
