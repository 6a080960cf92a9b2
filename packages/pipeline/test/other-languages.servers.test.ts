import {
  brokerInbox,
  durableName,
  EVENT_STREAM,
  eventCatalogue,
  eventId,
  eventSubject,
  eventTypes,
} from "@tributary/contracts";
import { type Database, migrate, openPostgres, withOrganization } from "@tributary/db";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { execFile, execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { append, type PendingEvent } from "../src/append.ts";
import { createHandOff, type HandOff } from "../src/hand-off.ts";
import { migrations } from "../src/migrations.ts";
import { ensurePartitions } from "../src/partitions.ts";
import { type Relay, startRelay } from "../src/relay.ts";
import { type PrivateNats, startPrivateNats } from "../src/testing/private-nats.ts";

const run = promisify(execFile);
const pathOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const ROOT = pathOf("../../..");
const CONSUMER = pathOf("./plain-consumer.mjs");
const RUN_MS_MAX = 120_000;

/** A line of the plain consumer. */
interface Line {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly event: object;
}

const scratch = mkdtempSync(join(tmpdir(), "tributary-other-languages-"));
const contracts = join(scratch, "contracts");
const connections = [randomUUID(), randomUUID()];
let postgres: PrivatePostgres;
let nats: PrivateNats;
let database: Database;
let handOff: HandOff;
let relay: Relay;

beforeAll(async () => {
  // What is published for others: the folder that the documented command writes.
  await run(process.execPath, [join(ROOT, "tools/contracts-export.ts"), contracts], { cwd: ROOT });
  [postgres, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats()]);
  database = openPostgres({ url: await postgres.createDatabase() });
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
  handOff = await createHandOff({ database, process: randomUUID() });
  relay = startRelay({ database, handOff, servers: nats.url });
  for (const connectionId of connections) await commitEveryType(connectionId);
});
afterAll(async () => {
  await relay.stop();
  await handOff.stop();
  await Promise.all([nats.stop(), database.close()]);
  await postgres.stop();
  rmSync(scratch, { recursive: true, force: true });
});

/** Every type that the catalogue knows, with its example as the payload, in the catalogue's order. */
async function commitEveryType(connectionId: string): Promise<void> {
  const events = eventCatalogue.events.map(({ type, example }): PendingEvent => {
    const schema = eventTypes.get(type);
    if (schema === undefined) throw new Error(`${type} is in the catalogue and not in the registry`);
    return {
      id: eventId(connectionId, type, "task/ą 1", "1"),
      type,
      subject: eventSubject(schema, "acme", "todoist"),
      objectKey: "task/ą 1",
      timeMs: Date.UTC(2026, 2, 9),
      payload: encode(type, example),
    };
  });
  const batch = {
    organizationId: "acme",
    connectionId,
    connector: "todoist",
    backfill: false,
    traceparent: "",
    events,
  };
  const first = await withOrganization(database, "acme", (tx) => append(tx, batch));
  handOff.committed(batch, first);
}

function encode(type: string, json: object): Uint8Array {
  const args = ["convert", join(contracts, "tributary.binpb"), "--type", type, "--from", "-#format=json"];
  return execFileSync("buf", [...args, "--to", "-#format=binpb"], { input: JSON.stringify(json), cwd: scratch });
}

/** @returns what the consumer said of `events` events, of which it acknowledged the first `acknowledged`. */
async function consume(name: string, filter: string, events: number, acknowledged = events): Promise<Line[]> {
  const args = [CONSUMER, nats.url, contracts, name, filter, String(events), String(acknowledged)];
  const { stdout } = await run(process.execPath, args, { timeout: RUN_MS_MAX, cwd: ROOT });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

describe("a consumer with a NATS client, buf and the exported contracts", () => {
  it("imports nothing of ours", () => {
    const imported = [...readFileSync(CONSUMER, "utf8").matchAll(/^import .* from "([^"]+)";$/gm)].map(
      ([, from]) => from,
    );
    expect(imported).toEqual(["@nats-io/transport-node", "node:child_process"]);
  });

  it("understands every type of event: what it is, whose, where in the order, and what it holds", async () => {
    const { events } = eventCatalogue;
    const own = (root: string) => events.filter((event) => event.subject.startsWith(root)).length * connections.length;
    const evt = await consume("acme_plain-evt", "evt.v1.acme.>", own("evt."));
    const sys = await consume("acme_plain-sys", "sys.v1.acme.>", own("sys."));
    for (const connectionId of connections) {
      const lines = [...evt, ...sys]
        .filter(({ headers }) => headers["trib-connection"] === connectionId)
        .toSorted((a, b) => Number(a.headers["ce-sequence"]) - Number(b.headers["ce-sequence"]));
      expect(lines.map(({ headers }) => headers["ce-type"])).toEqual(events.map((event) => event.type));
      expect(lines.map(({ headers }) => headers["ce-sequence"])).toEqual(events.map((_, index) => String(index + 1)));
      expect(lines.map(({ event }) => event)).toEqual(events.map((event) => event.example));
      expect(lines.map(({ subject }) => subject)).toEqual(
        events.map(({ subject }) => subject.replace("{organization}", "acme").replace("{connector}", "todoist")),
      );
      for (const { headers } of lines)
        expect(headers).toMatchObject({
          "ce-specversion": "1.0",
          "ce-datacontenttype": "application/protobuf",
          "ce-source": `/todoist/${connectionId}`,
          "ce-subject": "task%2F%C4%85%201",
          "ce-time": "2026-03-09T00:00:00.000Z",
          "trib-organization": "acme",
          "Nats-Msg-Id": headers["ce-id"],
        });
    }
    expect(new Set([...evt, ...sys].map(({ headers }) => headers["ce-id"])).size).toBe(evt.length + sys.length);
  });

  it("is given again what it did not acknowledge, under the same id, and then what follows", async () => {
    const [first, second] = await consume("acme_plain-again", "evt.v1.acme.>", 2, 1);
    const [again, third] = await consume("acme_plain-again", "evt.v1.acme.>", 2);
    expect(again).toEqual(second);
    expect(new Set([first, second, third].map((line) => line?.headers["ce-id"])).size).toBe(3);
  });
});

describe("docs/other-languages.md", () => {
  const page = readFileSync(join(ROOT, "docs/other-languages.md"), "utf8");

  it.each([
    ["python", /\bimport (Task\w+(?:, Task\w+)*)$/m, "tributary.task.v1.", "inbox_prefix"],
    ["go", /case "(tributary\.[\w.]+)":/g, "", "nats.CustomInboxPrefix"],
  ] as const)(
    "names in %s only what there is, as the generated permissions ask for it",
    (language, types, prefix, inbox) => {
      const [, program = ""] = new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``).exec(page) ?? [];
      const named = [...program.matchAll(new RegExp(types, "gm"))].flatMap(([, names = ""]) => names.split(", "));
      expect(named.length).toBeGreaterThan(1);
      expect(named.filter((name) => !eventTypes.has(`${prefix}${name}`))).toEqual([]);
      for (const word of [EVENT_STREAM, durableName("billing", "acme"), "evt.v1.acme.>", brokerInbox("acme"), inbox])
        expect(program).toContain(word);
    },
  );

  it("shows Python that Python can read", async () => {
    const programs = [...page.matchAll(/```python\n([^]*?)```/g)].map(([, program = ""]) => program);
    expect(programs).toHaveLength(2);
    for (const [index, program] of programs.entries()) {
      const file = join(scratch, `program_${index}.py`);
      writeFileSync(file, program);
      await run("python3", ["-W", "error", "-m", "py_compile", file]);
    }
    const broken = join(scratch, "broken.py");
    writeFileSync(broken, "async def main(:\n");
    await expect(run("python3", ["-m", "py_compile", broken])).rejects.toThrow("SyntaxError");
  });
});
