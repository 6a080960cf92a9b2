import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import { create, toBinary } from "@bufbuild/protobuf";
import { EVENT_STREAM, eventHeaders, eventSubject, TaskCompletedSchema } from "@tributary/contracts";
import {
  applyStreams,
  natsConfig,
  passwordVariable,
  type PrivateNats,
  startPrivateNats,
  until,
} from "@tributary/pipeline/testing";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drop, subscribe } from "./index.ts";

const organizations = [
  { organizationId: "acme", consumers: ["billing", "ledger"] },
  { organizationId: "globex", consumers: ["audit", "billing"] },
];
const password = (organizationId: string): string => `only-for-${organizationId}-0123456789`;

let nats: PrivateNats;
let hub: NatsConnection;
let globex: NatsConnection;
/** Subjects that the broker refused globex, as it says itself. */
const refused: string[] = [];
beforeAll(async () => {
  nats = await startPrivateNats({
    config: natsConfig(organizations),
    env: {
      TRIBUTARY_NATS_PASSWORD: "only-for-the-hub-0123456789",
      ...Object.fromEntries(
        organizations.map(({ organizationId: id }) => [passwordVariable(id), password(id)] as const),
      ),
    },
  });
  hub = await connect({ servers: nats.url, user: "tributary", pass: "only-for-the-hub-0123456789" });
  const servers = nats.url.replace("//", "//tributary:only-for-the-hub-0123456789@");
  await applyStreams({ servers, retentionDays: 30 });
  for (const organizationId of ["acme", "globex"]) for (let n = 1; n <= 5; n++) await publish(organizationId, n);
  globex = await connect({
    servers: nats.url,
    user: "globex",
    pass: password("globex"),
    inboxPrefix: "_INBOX_globex",
  });
  void (async () => {
    for await (const status of globex.status())
      if (status.type === "error" && status.error instanceof PermissionViolationError)
        refused.push(status.error.subject);
  })();
});
afterAll(async () => {
  await globex.close();
  await hub.close();
  await nats.stop();
});

async function publish(organizationId: string, n: number): Promise<void> {
  const connectionId = `connection-of-${organizationId}`;
  const attributes = {
    id: `${organizationId}-${n}`,
    type: TaskCompletedSchema.typeName,
    organizationId,
    connectionId,
    connector: "todoist",
    objectKey: `task/${n}`,
    sequence: BigInt(n),
    time: "2026-11-21T04:00:00.000Z",
    backfill: false,
    traceparent: "",
  };
  const head = headers();
  for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
  const data = toBinary(TaskCompletedSchema, create(TaskCompletedSchema, { task: { id: String(n), title: "Water" } }));
  const subject = eventSubject(TaskCompletedSchema, organizationId, "todoist");
  await jetstream(hub).publish(subject, data, { headers: head, msgID: attributes.id });
}

const subscribeAs = (organization: string, name: string, heard: string[]) =>
  subscribe({
    url: nats.url.replace("//", `//${organization}:${password(organization)}@`),
    name,
    organization,
    backoffMs: { first: 10, longest: 50 },
  })
    .on(TaskCompletedSchema, (_, { id }) => {
      heard.push(id);
      if (id.endsWith("-3")) throw drop("not for us");
    })
    .start();

const five = (organizationId: string): string[] => [1, 2, 3, 4, 5].map((n) => `${organizationId}-${n}`);

describe("with the generated permissions", () => {
  const nkey = `U${"A".repeat(55)}`;
  it.each([
    ["by one password", [{ organizationId: "a-b" }, { organizationId: "a_b" }]],
    ["as the hub", [{ organizationId: "tributary" }]],
    ["by one name", [{ organizationId: "acme" }, { organizationId: "acme" }]],
    [
      "by one key",
      [
        { organizationId: "acme", nkey },
        { organizationId: "globex", nkey },
      ],
    ],
  ])("no two sign in %s", (_, given) => {
    expect(() => natsConfig(given.map((one) => ({ ...one, consumers: ["billing"] })))).toThrow(TypeError);
  });

  it("nobody is given a consumer of every organisation", () => {
    expect(() => natsConfig([{ organizationId: "acme", consumers: ["_billing"] }])).toThrow(TypeError);
  });

  it.each([
    ["acme", "billing"],
    ["globex", "billing"],
    ["globex", "audit"],
  ])("a subscriber of %s hears its own events, leaves its dead letters, and goes on where it was", async (id, name) => {
    const heard: string[] = [];
    const first = await subscribeAs(id, name, heard);
    await until("all five arrived", () => heard.length >= 5);
    await first.stop();
    expect(heard).toEqual(five(id));
    const letter = await (
      await jetstreamManager(hub)
    ).streams.getMessage("TRIBUTARY_DEAD_LETTERS", {
      last_by_subj: `dlq.v1.${name}.${id}`,
    });
    expect(letter?.header.get("ce-id")).toBe(`${id}-3`);
    const again = await subscribeAs(id, name, heard);
    await sleep(300);
    await again.stop();
    expect(heard).toEqual(five(id));
  });

  const task = "evt.v1.acme.todoist.task.completed";
  const consumer = (name: string, filter?: string) => ({
    stream_name: EVENT_STREAM,
    config: { durable_name: name, ack_policy: "explicit", ...(filter === undefined ? {} : { filter_subject: filter }) },
  });
  const S = EVENT_STREAM;
  it.each([
    [
      "create a consumer of another's events",
      `CONSUMER.CREATE.${S}.globex_audit.evt.v1.acme.>`,
      consumer("globex_audit", "evt.v1.acme.>"),
    ],
    ["create a consumer of everybody's events", `CONSUMER.CREATE.${S}.globex_audit`, consumer("globex_audit")],
    [
      "create one in the old way",
      `CONSUMER.DURABLE.CREATE.${S}.globex_audit`,
      consumer("globex_audit", "evt.v1.acme.>"),
    ],
    ["create an ephemeral one", `CONSUMER.CREATE.${S}`, consumer("globex_audit", "evt.v1.acme.>")],
    [
      "turn another's consumer to its own events",
      `CONSUMER.CREATE.${S}.acme_billing.evt.v1.globex.>`,
      consumer("acme_billing", "evt.v1.globex.>"),
    ],
    ["look at another's consumer", `CONSUMER.INFO.${S}.acme_billing`, undefined],
    ["pull from another's consumer", `CONSUMER.MSG.NEXT.${S}.acme_billing`, { batch: 1 }],
    ["delete another's consumer", `CONSUMER.DELETE.${S}.acme_billing`, undefined],
    ["list consumers", `CONSUMER.LIST.${S}`, undefined],
    ["name consumers", `CONSUMER.NAMES.${S}`, undefined],
    ["read a message by its sequence", `STREAM.MSG.GET.${S}`, { seq: 1 }],
    ["read the last message of a subject", `STREAM.MSG.GET.${S}`, { last_by_subj: task }],
    ["read a message directly", `DIRECT.GET.${S}`, { seq: 1 }],
    ["read a subject directly", `DIRECT.GET.${S}.${task}`, undefined],
    ["delete a message", `STREAM.MSG.DELETE.${S}`, { seq: 1 }],
    ["purge", `STREAM.PURGE.${S}`, { filter: "evt.v1.acme.>" }],
    ["delete the stream", `STREAM.DELETE.${S}`, undefined],
    ["change the stream", `STREAM.UPDATE.${S}`, { name: S, subjects: ["evt.v1.globex.>"] }],
    ["look at the stream and its subjects", `STREAM.INFO.${S}`, { subjects_filter: ">" }],
    [
      "make a stream of its own over another's subjects",
      "STREAM.CREATE.MINE",
      { name: "MINE", subjects: ["mine"], sources: [{ name: S }] },
    ],
    ["list streams", "STREAM.LIST", undefined],
    ["take a snapshot", `STREAM.SNAPSHOT.${S}`, { deliver_subject: "_INBOX_globex.snapshot" }],
    ["read another's dead letters", "STREAM.MSG.GET.TRIBUTARY_DEAD_LETTERS", { seq: 1 }],
  ])("one organisation cannot %s", async (_, api, body) => {
    const subject = `$JS.API.${api}`;
    const before = await state();
    const data = body === undefined ? "" : JSON.stringify(body);
    await expect(globex.request(subject, data, { timeout: 300 })).rejects.toThrow(/permission|timeout|no responders/i);
    await until("the broker says so", () => refused.includes(subject));
    expect(await state()).toEqual(before);
  });

  it.each(["evt.v1.acme.>", "evt.v1.>", ">", "dlq.v1.>", "rpl.v1.*.acme.>", "_INBOX.>", "_INBOX_acme.>", "$JS.>"])(
    "one organisation cannot listen to %s",
    async (subject) => {
      const heard: string[] = [];
      const subscription = globex.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) heard.push(message.subject);
        },
      });
      await until("the broker says so", () => refused.includes(subject));
      await publish("acme", 6);
      expect(heard).toEqual([]);
      subscription.unsubscribe();
    },
  );

  it.each([
    [task],
    ["evt.v1.globex.todoist.task.completed"],
    ["dlq.v1.billing.acme"],
    ["dlq.v1.audit.acme"],
    [`$JS.ACK.${EVENT_STREAM}.acme_billing.1.1.1.1763683200000000000.0`],
    ["_INBOX_acme.anything"],
  ])("one organisation cannot publish on %s", async (subject) => {
    const before = await state();
    globex.publish(subject, "forged");
    await until("the broker says so", () => refused.includes(subject));
    expect(await state()).toEqual(before);
  });

  it("a consumer's filter is the one that the subject names, whatever the request says", async () => {
    const subject = `$JS.API.CONSUMER.CREATE.${EVENT_STREAM}.globex_audit.evt.v1.globex.>`;
    const answer = await globex.request(subject, JSON.stringify(consumer("globex_audit", "evt.v1.acme.>")), {
      timeout: 2_000,
    });
    expect(answer.json()).toMatchObject({ error: { code: 400 } });
    const other = await globex.request(subject, JSON.stringify(consumer("acme_billing", "evt.v1.globex.>")), {
      timeout: 2_000,
    });
    expect(other.json()).toMatchObject({ error: { code: 400 } });
    const { config } = await (await jetstreamManager(hub)).consumers.info(EVENT_STREAM, "acme_billing");
    expect(config.filter_subject).toBe("evt.v1.acme.>");
  });

  it("an answer that is sent where it does not belong brings nobody another's events", async () => {
    const before = await state();
    // The broker delivers to whatever address a pull names: here into the stream, as another's event.
    const subject = `$JS.API.CONSUMER.CREATE.${EVENT_STREAM}.globex_audit.evt.v1.globex.>`;
    await globex.request(subject, JSON.stringify(consumer("globex_audit", "evt.v1.globex.>"))).catch(() => {});
    await publish("globex", 7);
    globex.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${EVENT_STREAM}.globex_audit`,
      JSON.stringify({ batch: 1, expires: 1e9 }),
      {
        reply: task,
      },
    );
    await sleep(300);
    const after = await state();
    expect({ ...after, messages: after.messages - 1, last: after.last - 1 }).toEqual(before);
  });
});

async function state() {
  const jsm = await jetstreamManager(hub);
  const { state: of, config } = await jsm.streams.info(EVENT_STREAM);
  const consumers: string[] = [];
  for await (const one of jsm.consumers.list(EVENT_STREAM)) consumers.push(`${one.name} ${one.config.filter_subject}`);
  const letters = await jsm.streams.info("TRIBUTARY_DEAD_LETTERS");
  return {
    messages: of.messages,
    last: of.last_seq,
    subjects: config.subjects,
    consumers: consumers.toSorted(),
    letters: letters.state.messages,
  };
}
