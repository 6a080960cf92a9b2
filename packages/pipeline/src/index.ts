export { APPEND_EVENTS_MAX, type Append, append, type EventBatch, type PendingEvent } from "./append.ts";
export {
  type AfterDeadLetter,
  type ConnectionLag,
  ConsumerDiffers,
  type Consumers,
  type ConsumersOptions,
  ConsumerUnsupported,
  type ConsumerView,
  type ConsumerWish,
  createConsumers,
} from "./consumers.ts";
export {
  type Counted,
  createDeadLetters,
  type DeadLetter,
  type DeadLetterChoice,
  type DeadLetterQuery,
  type DeadLetters,
  trimDeadLetters,
} from "./dead-letters.ts";
export { startDeadLetterIntake } from "./dead-letter-intake.ts";
export { openSideRoad } from "./jetstream-side.ts";
export { type ReplayRunnerOptions, startReplayRunner } from "./replay-runner.ts";
export { type SideRoad, SideRoadAway } from "./side-road.ts";
export {
  type Backlog,
  BACKLOG_BYTES_MAX,
  type BacklogState,
  type BacklogWatch,
  type BacklogWatchOptions,
  ledgerBacklog,
  watchBacklog,
} from "./backlog.ts";
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
export { eraseEvents } from "./erase-events.ts";
export { eraseMessages, type EraseMessagesOptions } from "./erase-messages.ts";
export { jsonColumns } from "./json-columns.ts";
export { migrations } from "./migrations.ts";
export { dropExpiredPartitions, ensurePartitions, type RetentionOptions } from "./partitions.ts";
export { createHandOff, type HandOff, type Wake } from "./hand-off.ts";
export { SettlementRefused } from "./positions.ts";
export {
  createEventTail,
  type EventTail,
  TAIL_CONNECTIONS_MAX,
  type TailedEvent,
  type TailOptions,
} from "./event-tail.ts";
export {
  createEventReader,
  type EventPage,
  type EventQuery,
  type EventReader,
  PAGE_EVENTS_MAX,
  type ReadEvent,
} from "./read-events.ts";
export { PageTokenInvalid } from "./page-token.ts";
export {
  createReplays,
  ReplayRefused,
  type Replays,
  type ReplaysOptions,
  type ReplayTargetView,
  type ReplayView,
  type ReplayWish,
  trimReplays,
} from "./replays.ts";
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
export {
  natsConfig,
  type NatsOrganization,
  natsPermissions,
  type NatsPermissions,
  passwordVariable,
  RELAY_PERMISSIONS,
} from "./nats-permissions.ts";
export { troubleReason } from "./broker-answers.ts";
export { consumersBehind, pipelineFigures, type PipelineFigures } from "./pipeline-figures.ts";
export { type ParkedConnection, parkedConnections, unparkConnection } from "./relay-parked.ts";
export {
  applyStreams,
  type BrokerWarning,
  type InspectOptions,
  inspectStreams,
  type StreamCheck,
  type StreamDifference,
  type StreamInspection,
} from "./stream-settings.ts";
export { type Relay, type RelayLog, type RelayOptions, type RelayStatus, startRelay } from "./relay.ts";
