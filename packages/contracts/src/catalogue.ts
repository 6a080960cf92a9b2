import type { JsonObject } from "@bufbuild/protobuf";

/**
 * Every event type in words, as data: for the API, the command line and pages. It is generated from the `.proto` files
 * and their comments; the same data for programs in other languages is `@tributary/contracts/catalogue.json`.
 */
export interface EventCatalogue {
  /** The newest release of the contracts; "" before the first. */
  readonly version: string;
  /** The protobuf packages, by name. */
  readonly families: readonly CatalogueFamily[];
  /** Every event type, by name. */
  readonly events: readonly CatalogueEvent[];
  /** What events are made of: messages and enums, by name, without events and without Google's well-known types. */
  readonly types: readonly CatalogueType[];
}

/** One protobuf package. */
export interface CatalogueFamily {
  /** Such as "tributary.task.v1". */
  readonly name: string;
  readonly meaning: string;
}

/** One event type. */
export interface CatalogueEvent {
  /** Full protobuf name, such as "tributary.task.v1.TaskCompleted"; what `ce-type` says. */
  readonly type: string;
  /** The package, one of the families. */
  readonly family: string;
  /** The `.proto` file below `proto/`. */
  readonly file: string;
  /** One or several sentences, in English. */
  readonly meaning: string;
  /** "evt.v1.{organization}.{connector}.task.completed": each brace stands for one token. */
  readonly subject: string;
  /** The first release that had it; null while it is not released and may still change. */
  readonly since: string | null;
  readonly deprecated: boolean;
  readonly fields: readonly CatalogueField[];
  /** Protobuf JSON with made-up values; decodes as this type. */
  readonly example: JsonObject;
}

/** One field of an event, or of a message inside one. */
export interface CatalogueField {
  /** As the `.proto` file has it: "completed_at". */
  readonly name: string;
  /** As protobuf JSON has it: "completedAt". */
  readonly jsonName: string;
  readonly number: number;
  /** A scalar type of protobuf, or the full name of a message or an enum. Of a map: what its values are. */
  readonly type: string;
  readonly repeated: boolean;
  /** The scalar type of a map's keys; null when the field is no map. */
  readonly mapKey: string | null;
  /** Name of the group of which at most one field is set; null when it is in none. */
  readonly oneof: string | null;
  /** True when it can name or describe a person: not for logs. */
  readonly personalData: boolean;
  readonly deprecated: boolean;
  readonly meaning: string;
}

/** A message or an enum that events are made of. */
export interface CatalogueType {
  readonly type: string;
  readonly family: string;
  readonly kind: "message" | "enum";
  readonly meaning: string;
  readonly deprecated: boolean;
  /** Of a message; an enum has none. */
  readonly fields: readonly CatalogueField[];
  /** Of an enum; a message has none. */
  readonly values: readonly CatalogueValue[];
}

/** One value of an enum. */
export interface CatalogueValue {
  readonly name: string;
  readonly number: number;
  readonly meaning: string;
  readonly deprecated: boolean;
}
