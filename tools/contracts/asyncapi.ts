import type { JsonObject } from "@bufbuild/protobuf";
import type { Catalogue, CatalogueEvent } from "./catalogue.ts";
import { enumSchema, messageSchema } from "./json-schema.ts";

/**
 * The events as an AsyncAPI 3.0 document (asyncapi.com, specification v3.0.0). What travels is the binary message;
 * its schema here describes the same message as protobuf JSON, because that is what tools for AsyncAPI can show.
 */
export function asyncApi({ version, events, types }: Catalogue): JsonObject {
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Tributary events",
      version: version === "" ? "0.0.0" : version,
      description:
        "What connected accounts and the runtime itself publish. A payload is one binary protobuf message; the header ce-type names its type, and the headers carry the CloudEvents attributes. Payload schemas and examples show the message as protobuf JSON.",
      license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    },
    defaultContentType: "application/protobuf",
    servers: {
      nats: {
        host: "{host}:{port}",
        protocol: "nats",
        description: "NATS with JetStream; the events are kept in the stream TRIBUTARY_EVENTS.",
        variables: { host: { default: "127.0.0.1" }, port: { default: "4222" } },
      },
    },
    channels: Object.fromEntries(events.map((event) => [idOf(event), channel(event)])),
    operations: Object.fromEntries(events.map((event) => [`publish.${idOf(event)}`, operation(event)])),
    components: {
      messages: Object.fromEntries(events.map((event) => [event.type, message(event)])),
      messageTraits: { event: { headers: HEADERS } },
      parameters: PARAMETERS,
      schemas: Object.fromEntries([
        ...events.map((event) => [event.type, messageSchema(event.fields, event.meaning, schemaOf)] as const),
        ...types.map(
          (type) =>
            [
              type.type,
              type.kind === "enum" ? enumSchema(type) : messageSchema(type.fields, type.meaning, schemaOf),
            ] as const,
        ),
      ]),
    },
  };
}

/** "task.v1.TaskCompleted" */
const idOf = ({ type }: CatalogueEvent): string => type.replace(/^tributary\./, "");
const schemaOf = (type: string): string => `#/components/schemas/${type}`;

const channel = (event: CatalogueEvent): JsonObject => ({
  address: event.subject,
  description: event.meaning,
  parameters: {
    organization: { $ref: "#/components/parameters/organization" },
    connector: { $ref: "#/components/parameters/connector" },
  },
  messages: { [event.type]: { $ref: `#/components/messages/${event.type}` } },
});

const operation = (event: CatalogueEvent): JsonObject => ({
  action: "send",
  summary: event.meaning,
  channel: { $ref: `#/channels/${idOf(event)}` },
  messages: [{ $ref: `#/channels/${idOf(event)}/messages/${event.type}` }],
});

const message = (event: CatalogueEvent): JsonObject => ({
  name: event.type,
  title: event.type.split(".").slice(3).join("."),
  summary: event.meaning,
  contentType: "application/protobuf",
  traits: [{ $ref: "#/components/messageTraits/event" }],
  payload: { $ref: schemaOf(event.type) },
  examples: [{ name: "example", headers: { "ce-type": event.type }, payload: event.example }],
  "x-protobuf-file": event.file,
});

const PARAMETERS: JsonObject = {
  organization: { description: "Id of the organisation." },
  connector: { description: 'Id of the connector that read the change, such as "todoist".' },
};

const text = (description: string): JsonObject => ({ type: "string", description });

/** What packages/contracts writes; compared with it by a test there. */
const HEADERS: JsonObject = {
  type: "object",
  properties: {
    "ce-specversion": { type: "string", const: "1.0", description: "Version of CloudEvents." },
    "ce-id": text("Id of the event, the same however often it is delivered; the key of a subscriber's inbox."),
    "ce-source": text('"/<connector>/<id of the connection>".'),
    "ce-type": text("Full protobuf name of the payload's type."),
    "ce-subject": text('What the event is about: "<object>/<the provider\'s id>", percent-encoded where needed.'),
    "ce-time": { type: "string", format: "date-time", description: "When it happened, by the provider's clock." },
    "ce-datacontenttype": { type: "string", const: "application/protobuf", description: "What the body is." },
    "ce-sequence": text("Position within the connection, a decimal number from 1, without gaps."),
    "trib-organization": text("Id of the organisation."),
    "trib-connection": text("Id of the connection."),
    "trib-backfill": text('"true" when it was read from history; absent otherwise.'),
    "trib-replay": text("Id of the replay that brings it again; absent otherwise."),
    "trib-redrive": text("How often this dead letter was delivered again, from 1; absent otherwise."),
    "trib-consumer": text("The only consumer that a replay or a redriven dead letter is for; absent: for all."),
    traceparent: text("W3C trace context of the run that committed it; absent when there is none."),
    "Nats-Msg-Id": text("The same as ce-id."),
  },
  required: [
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-subject",
    "ce-time",
    "ce-datacontenttype",
    "ce-sequence",
    "trib-organization",
    "trib-connection",
  ],
};
