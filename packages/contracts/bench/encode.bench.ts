import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { hash } from "node:crypto";
import { encode, eventHeaders, eventId, eventSubject, Priority, TaskCompletedSchema } from "../src/index.ts";

/**
 * Stamping one event: its id, subject, headers and bytes. The ceiling hashes and copies as many bytes and does nothing
 * else: one one-shot SHA-256 of the id's input and one copy of the encoded payload.
 */
const EVENTS = 20_000;
const connectionId = "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e8f";
const messages = Array.from({ length: 500 }, (_, index) =>
  create(TaskCompletedSchema, {
    task: {
      id: `6X7rM8997g3RQm${index}`,
      title: `Water the plants on the balcony, number ${index}`,
      description: "Two litres each; the basil needs less.",
      priority: Priority.HIGH,
      labels: ["home", "weekly"],
      projectId: "6Jf8VQXxpwv56VQ7",
      createdAt: timestampFromDate(new Date("2026-11-01T08:00:00Z")),
      updatedAt: timestampFromDate(new Date("2026-11-21T09:30:00Z")),
    },
    completedAt: timestampFromDate(new Date("2026-11-21T09:30:00Z")),
  }),
);
const encoded = messages.map((message) => toBinary(TaskCompletedSchema, message));

export default {
  name: "contracts/encode",
  unit: "events/s",
  async run() {
    return { ours: rate(stamp), ceiling: rate(bare) };
  },
};

function stamp(index: number): number {
  const message = messages[index % messages.length];
  if (message?.task === undefined) return 0;
  const objectKey = `task/${message.task.id}`;
  const id = eventId(connectionId, TaskCompletedSchema.typeName, objectKey, String(index));
  const subject = eventSubject(TaskCompletedSchema, "acme", "todoist");
  const headers = eventHeaders({
    id,
    type: TaskCompletedSchema.typeName,
    organizationId: "acme",
    connectionId,
    connector: "todoist",
    objectKey,
    sequence: BigInt(index),
    time: "2026-11-21T09:30:00.000Z",
    backfill: false,
    traceparent: "",
  });
  return encode(TaskCompletedSchema, message).byteLength + subject.length + headers.length;
}

function bare(index: number): number {
  const payload = encoded[index % encoded.length] ?? new Uint8Array();
  const digest = hash(
    "sha256",
    `${connectionId}\n${TaskCompletedSchema.typeName}\n1:${index}\ntask/6X7rM8997g3RQm`,
    "base64url",
  );
  return payload.slice().byteLength + digest.length;
}

/** Calls per second. The results are summed and looked at, so that none of the work can be optimised away. */
function rate(work: (index: number) => number): number {
  const start = performance.now();
  let sum = 0;
  for (let index = 0; index < EVENTS; index++) sum += work(index);
  const seconds = (performance.now() - start) / 1000;
  if (sum <= 0) throw new Error("nothing was done");
  return EVENTS / seconds;
}
