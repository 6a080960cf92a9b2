import { create, toBinary } from "@bufbuild/protobuf";
import { createGuard, createServiceKeys, type Identity } from "@tributary/auth";
import { TaskCompletedSchema, TaskSchema } from "@tributary/contracts";
import { migrate, openPglite, withOrganization } from "@tributary/db";
import { type Connections, IntegrationError, type Runtime } from "@tributary/integrations";
import {
  append,
  createConsumers,
  createDeadLetters,
  createEventReader,
  createEventStream,
  createHandOff,
  createReplays,
  migrations,
} from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import { createRpc } from "../rpc.ts";

export const ACME = "a-key-for-acme-of-enough-characters";
export const GLOBEX = "a-key-for-globex-of-enough-characters";

export type RpcStage = Awaited<ReturnType<typeof openRpcStage>>;

/**
 * The Connect services on a database of their own. Acme has three events of one connection, and a consumer, "billing",
 * that gave the first one up. Globex has nothing.
 */
export async function openRpcStage(sessionOf: () => Identity | undefined = () => undefined) {
  const database = await openPglite();
  await migrate(database, [migrations]);
  const handOff = await createHandOff({ database, process: randomUUID() });
  const stream = await createEventStream({ database, handOff });
  const nothing = (): never => {
    throw new IntegrationError("not_found", "There is nothing here by that id.");
  };
  const methods = { get: nothing, sync: nothing, pause: nothing, resume: nothing, act: nothing, disconnect: nothing };
  const connections = { ...methods, list: async () => [] } as unknown as Connections;
  const quiet = { info: () => {}, warn: () => {}, error: () => {} };
  const runtime = {
    now: () => new Date(),
    uuid: randomUUID,
    log: quiet,
    registry: { get: nothing },
  } as unknown as Runtime;
  const replays = createReplays({ database, uuid: randomUUID });
  const deadLetters = createDeadLetters(database);
  const app = createRpc({
    guard: createGuard({
      serviceKeys: createServiceKeys([
        { name: "acme", organizationId: "acme", key: ACME },
        { name: "globex", organizationId: "globex", key: GLOBEX },
      ]),
      sessions: { authenticate: async () => sessionOf() },
      log: () => {},
      now: () => new Date(),
      uuid: randomUUID,
    }),
    origin: "https://tributary.example.com",
    stream,
    reader: createEventReader(database, () => Date.now()),
    replays,
    deadLetters,
    consumers: createConsumers({ database, outstanding: () => 0 }),
    connections,
    runtime,
  });
  const connectionId = randomUUID();
  const events = [1, 2, 3].map((n) => ({
    id: `event-${n}`,
    type: TaskCompletedSchema.typeName,
    subject: "evt.v1.acme.todoist.task.completed",
    objectKey: `task/${n}`,
    timeMs: 1_763_683_200_000 + n,
    payload: toBinary(
      TaskCompletedSchema,
      create(TaskCompletedSchema, { task: create(TaskSchema, { id: String(n), title: "Water the ferns" }) }),
    ),
  }));
  const batch = {
    organizationId: "acme",
    connectionId,
    connector: "todoist",
    backfill: false,
    traceparent: "",
    events,
  };
  await withOrganization(database, "acme", (tx) => append(tx, batch));
  const abort = new AbortController();
  const key = { organizationId: "acme", consumer: "billing" };
  for await (const event of stream.subscribe({ ...key, types: [], window: 1, signal: abort.signal })) {
    await stream.settle({ ...event, ...key, outcome: "dead_letter", reason: "no such customer" });
    abort.abort();
  }
  const letterId = (await deadLetters.list({ organizationId: "acme", limit: 1 })).letters[0]?.letterId ?? "";
  return {
    database,
    app,
    replays,
    connectionId,
    letterId,
    close: async (): Promise<void> => {
      await stream.stop();
      await handOff.stop();
      await database.close();
    },
  };
}
