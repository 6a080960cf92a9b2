import { withOrganization } from "@tributary/db";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { append, parkedConnections } from "@tributary/pipeline";
import { createRelayStage, type RelayStage, sampleBatch, until } from "@tributary/pipeline/testing";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EXIT, runCommandLine } from "./command-line.ts";
import { natsCommand } from "./nats.ts";
import { relayCommand } from "./relay.ts";

let postgres: PrivatePostgres;
let stage: RelayStage;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
  stage = await createRelayStage(postgres, { maxPayloadBytes: 65_536 });
});
afterAll(async () => {
  await stage.stop();
  await postgres.stop();
});

const tributary = (...argv: string[]) => tributaryIn({}, ...argv);

async function tributaryIn(more: Readonly<Record<string, string>>, ...argv: string[]) {
  const [out, err]: [string[], string[]] = [[], []];
  const env = { DATABASE_URL: stage.url, NATS_URL: stage.nats.url, TRIBUTARY_SANDBOX: "true", ...more };
  const code = await runCommandLine([...argv, "--json"], [relayCommand, natsCommand], {
    env,
    integrations: [],
    stdout: { write: (text: string) => out.push(text) },
    stderr: { write: (text: string) => err.push(text) },
    now: () => new Date(0),
  });
  const json = JSON.parse(out.join("") || "null") as Record<string, unknown>;
  return { code, json, text: [...out, ...err].join("") };
}

describe("tributary relay", () => {
  it("shows how streams differ, and changes them only when asked", async () => {
    const missing = await tributary("relay", "stream");
    expect(missing).toMatchObject({
      code: EXIT.ok,
      json: { streams: expect.arrayContaining([expect.objectContaining({ exists: false })]) as unknown },
    });
    await stage.onBroker((jsm) =>
      jsm.streams.add({
        name: "TRIBUTARY_EVENTS",
        subjects: ["evt.v1.>", "mine.>"],
        max_bytes: 1e9,
        max_msgs_per_subject: 1e6,
        duplicate_window: 1e9,
      }),
    );
    const differing = ["subjects", "discard", "max_age", "duplicate_window", "max_msgs_per_subject"];
    const settings = (json: Record<string, unknown>, key: "streams" | "left") =>
      key === "left"
        ? (json["left"] as { setting: string }[]).map(({ setting }) => setting)
        : (json["streams"] as { differences: { setting: string }[] }[]).flatMap(({ differences }) =>
            differences.map(({ setting }) => setting),
          );
    const shown = await tributary("relay", "stream");
    expect(settings(shown.json, "streams")).toEqual(differing);
    const config = () => stage.onBroker(async (jsm) => (await jsm.streams.info("TRIBUTARY_EVENTS")).config);
    expect(await config()).toMatchObject({ subjects: ["evt.v1.>", "mine.>"], discard: "old", max_age: 0 });
    const applied = await tributary("relay", "stream", "--apply");
    expect(settings(applied.json, "left")).toEqual(["max_msgs_per_subject"]);
    expect(await config()).toMatchObject({
      subjects: ["evt.v1.>", "mine.>", "sys.v1.>"],
      discard: "new",
      max_age: 30 * 86_400e9,
      duplicate_window: 120e9,
      max_bytes: 1e9,
    });
    expect((await tributary("relay", "stream")).json).toMatchObject({
      streams: expect.arrayContaining([
        expect.objectContaining({ holds: { messages: 0, bytes: 0, bytesMax: 1e9, replicas: 1 } }),
      ]) as unknown,
    });
    expect((await tributary("relay", "stream")).json["warnings"]).toContain("sync_interval_unknown");
  });

  it("lists what is parked, and lets it go", async () => {
    const connectionId = randomUUID();
    stage.relay();
    await stage.write(connectionId, 1);
    await stage.write(connectionId, 1, { bytes: 70_000 });
    await stage.write(connectionId, 1);
    const parked = async () => (await tributary("relay", "parked", "--organization", "acme")).json["parked"];
    await until("it is parked", async () => ((await parked()) as unknown[]).length === 1);
    expect(await parked()).toMatchObject([{ connectionId, sequence: 2, reason: "message_too_large", waiting: 2 }]);
    const unpark = (...more: string[]) => tributary("relay", "unpark", connectionId, ...more);
    expect((await unpark("--organization", "globex", "--skip")).code).toBe(EXIT.failed);
    expect((await unpark()).code).toBe(EXIT.usage);
    expect((await tributary("relay", "unpark", "x", "--organization", "acme")).code).toBe(EXIT.usage);
    expect((await unpark("--organization", "acme", "--skip")).code).toBe(EXIT.ok);
    await stage.drained();
    expect((await stage.streamed()).get(connectionId)).toEqual([1, 3]);
  });

  it("says who publishes, what waits and since when, and what stands still", async () => {
    const connectionId = randomUUID();
    const parking = stage.relay();
    await stage.write(connectionId, 1, { bytes: 70_000 });
    await until("it is parked", async () => (await parkedConnections(stage.database, "acme")).length === 1);
    await stage.write(randomUUID(), 7);
    await stage.drained();
    const led = await tributary("relay", "status");
    expect(led).toMatchObject({
      code: EXIT.ok,
      json: {
        broker: true,
        led: true,
        acknowledgedAt: expect.stringMatching(/^2\d{3}-/) as string,
        waiting: { events: 0, bytesMax: 10_737_418_240, oldestAt: null },
        parked: [{ reason: "message_too_large", connections: 1 }],
      },
    });
    await stage.stopRelays();
    expect(parking.status().state).toBe("stopped");
    const batch = sampleBatch(randomUUID(), 20);
    await withOrganization(stage.database, "acme", (tx) => append(tx, batch));
    const left = await tributary("relay", "status");
    expect(left.json).toMatchObject({
      led: false,
      waiting: { connections: 1, events: 20, oldestAt: expect.stringMatching(/^2\d{3}-/) as string },
    });
  });

  it("names why the broker cannot be used, without its address", async () => {
    const env = { NATS_URL: "nats://relay:secret-word@127.0.0.1:1" };
    const { code, text } = await tributaryIn(env, "relay", "stream");
    expect(code).toBe(EXIT.unreachable);
    expect(text).toContain("no_connection");
    expect(text).not.toContain("secret-word");
  });
});

describe("tributary nats permissions", () => {
  it("prints a configuration without a secret in it", async () => {
    const { code, json } = await tributary("nats", "permissions", "acme:billing", "globex:billing");
    expect(code).toBe(EXIT.ok);
    expect(json["config"]).toContain('"$JS.API.CONSUMER.MSG.NEXT.TRIBUTARY_EVENTS.globex_billing"');
    expect(json["variables"]).toEqual([
      "TRIBUTARY_NATS_PASSWORD",
      "TRIBUTARY_NATS_PASSWORD_ACME",
      "TRIBUTARY_NATS_PASSWORD_GLOBEX",
    ]);
  });

  it.each([["acme"], ["a-b:billing", "a_b:billing"], ["acme:Bill ing"], ["acme:billing", "--nkey", "acme=SECRET"]])(
    "refuses %s",
    async (...argv) => {
      expect((await tributary("nats", "permissions", ...argv)).code).toBe(EXIT.usage);
    },
  );
});
