export * from "./gen/tributary/api/v1/connection_service_pb.ts";
export * from "./gen/tributary/api/v1/consumer_service_pb.ts";
export * from "./gen/tributary/api/v1/dead_letter_service_pb.ts";
export * from "./gen/tributary/api/v1/event_service_pb.ts";
export * from "./gen/tributary/options/v1/options_pb.ts";
export {
  type Connection as ConnectionRef,
  ConnectionDisconnectedSchema,
  type ConnectionDisconnected,
  ConnectionLinkedSchema,
  type ConnectionLinked,
  ConnectionState,
  ConnectionStateChangedSchema,
  type ConnectionStateChanged,
} from "./gen/tributary/system/v1/connection_events_pb.ts";
export * from "./gen/tributary/task/v1/task_events_pb.ts";
export * from "./gen/tributary/task/v1/task_pb.ts";
export * from "./catalogue.ts";
export * from "./consumer-names.ts";
export { encode } from "./encode.ts";
export * from "./error-sentences.ts";
export * from "./errors.ts";
export * from "./events.ts";
export { eventCatalogue } from "./gen/catalogue.ts";
export * from "./naming.ts";
