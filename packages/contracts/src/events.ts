import { createRegistry, type DescMessage, hasOption, type Registry } from "@bufbuild/protobuf";
import { event_subject } from "./gen/tributary/options/v1/options_pb.ts";
import { file_tributary_system_v1_connection_events } from "./gen/tributary/system/v1/connection_events_pb.ts";
import { file_tributary_task_v1_task_events } from "./gen/tributary/task/v1/task_events_pb.ts";

/** Every contract file that holds events; one line a domain. */
export const eventRegistry: Registry = createRegistry(
  file_tributary_system_v1_connection_events,
  file_tributary_task_v1_task_events,
);

/** Every event type, by full protobuf name. */
export const eventTypes: ReadonlyMap<string, DescMessage> = new Map(
  [...eventRegistry]
    .filter((type) => type.kind === "message")
    .filter((type) => hasOption(type, event_subject))
    .map((type) => [type.typeName, type]),
);
