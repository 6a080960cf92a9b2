import { clientCommands, runCommandLine } from "@tributary/cli";
import { freePorts } from "@tributary/db/testing";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HubProcess, startHubProcess } from "./hub-process.ts";

/** `tributary` as somebody types it, against a hub that runs. */
const TRIBUTARY = fileURLToPath(new URL("../src/tributary.ts", import.meta.url));
const COMPLETED = "tributary.task.v1.TaskCompleted";
const folder = mkdtempSync(join(tmpdir(), "tributary-cli-"));
let hub: HubProcess;
let env: Record<string, string>;
beforeAll(async () => {
  const port = await freePorts(3);
  env = {
    TRIBUTARY_DATA_DIR: join(folder, "data"),
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
  };
  hub = await startHubProcess(env);
  await hub.until("Change a task there");
});
afterAll(async () => {
  await hub.stop("SIGTERM");
  rmSync(folder, { recursive: true, force: true });
});

function start(args: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const { PATH = "" } = process.env;
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", TRIBUTARY, ...args], {
    env: { PATH, ...env, ...more },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const written = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (written.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (written.stderr += text));
  const ended = once(child, "close").then(([code]) => ({ code: code as number, ...written }));
  return { child, written, ended };
}

/** The same commands in this process: a program that starts for each would be most of the time. */
async function run(argv: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const written = { stdout: "", stderr: "" };
  const code = await runCommandLine(argv, clientCommands, {
    env: { ...env, ...more },
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    now: () => new Date(),
  });
  return { code, ...written };
}

/** What a command answers with --json, after it ended well. */
async function json<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await run([...args, "--json"]);
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(stdout) as T;
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(20)) if (await condition()) return;
  throw new Error(`not within 60 s: ${what}`);
}

interface Told {
  readonly id: string;
  readonly type: string;
  readonly payload?: { readonly task?: { readonly title?: string } };
}

describe("looking at events", () => {
  it("lists them, shows one, and hides what is about a person unless it is asked for", async () => {
    const { events } = await json<{ events: Told[] }>("events", "ls", "--type", COMPLETED, "--limit", "2");
    expect(events.map(({ type }) => type)).toEqual([COMPLETED, COMPLETED]);
    const id = events[0]?.id ?? "";
    expect((await json<Told>("events", "get", id)).payload?.task?.title).toBe("[redacted]");
    const open = await json<Told>("events", "get", id, "--personal-data");
    expect(open.payload?.task?.title).toMatch(/^[^[]/);
    expect((await run(["events", "ls"])).stdout).toMatch(/^COMMITTED +TYPE +OBJECT/);
  });

  it("says that there are more, with what the next page takes, and gives each event once", async () => {
    interface Page {
      readonly events: readonly Told[];
      readonly more: boolean;
      readonly nextPageToken: string;
    }
    const before = ["--until", new Date().toISOString()];
    const both = await json<Page>("events", "ls", ...before, "--limit", "2");
    const first = await json<Page>("events", "ls", ...before, "--limit", "1");
    const second = await json<Page>("events", "ls", ...before, "--limit", "1", "--page", first.nextPageToken);
    expect([...first.events, ...second.events]).toEqual(both.events);
    expect(first.more).toBe(true);
    expect((await run(["events", "ls", ...before, "--limit", "1"])).stdout).toContain(`--page ${first.nextPageToken}`);
    const all = await json<Page>("events", "ls", "--limit", "100000");
    expect(all).toMatchObject({ more: false, nextPageToken: "" });
  });

  it("tells the types, and one with its fields and an example", async () => {
    const { types } = await json<{ types: Told[] }>("events", "schema");
    expect(types.map(({ type }) => type)).toContain(COMPLETED);
    const { stdout } = await run(["events", "schema", COMPLETED]);
    expect(stdout).toContain("task.title");
    expect(stdout).toContain("Subject: evt.v1.<organization>.<connector>.task.completed");
  });

  it("follows a replay to one consumer to its end", async () => {
    const { code, stdout, stderr } = await run(["events", "replay", "--to", "sample", "--type", COMPLETED]);
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining("running") });
    expect(stdout).toMatch(/^replay [0-9a-f-]{36}: (\d+) of \1 events, done\n/);
    const { replays } = await json<{ replays: { state: string }[] }>("events", "replay", "ls");
    expect(replays[0]?.state).toBe("REPLAY_STATE_DONE");
    const page = await json<{ replays: object[]; more: boolean }>("events", "replay", "ls", "--limit", "1");
    expect(page).toMatchObject({ replays: [replays[0]], more: false });
  });

  it("says of a replay that stands still whom it waits for, and to whoever leaves it that it goes on", async () => {
    await run(["consumers", "create", "idle"]);
    const left = start(["events", "replay", "--to", "idle", "--type", COMPLETED]);
    await until("it is under way", () => /: 0 of \d+ events, running\n/.test(left.written.stderr));
    left.child.kill("SIGINT");
    const { code, stdout, stderr } = await left.ended;
    const [, id = ""] = /^replay ([0-9a-f-]{36}): 0 of \d+ events, running\n/.exec(stdout) ?? [];
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining("waited for: idle\n") });
    expect(stderr).toContain(`the replay goes on: \`tributary events replay show ${id}\` says how it stands`);
    const cancelled = await run(["events", "replay", "cancel", id]);
    expect(cancelled).toMatchObject({ code: 0, stdout: expect.stringContaining("cancelled") });
    const other = await json<{ id: string }>("events", "replay", "--to", "idle", "--no-wait");
    const following = run(["events", "replay", "--to", "idle"]);
    await until("it is followed", async () => {
      const { replays } = await json<{ replays: { state: string }[] }>("events", "replay", "ls");
      return replays.filter(({ state }) => state === "REPLAY_STATE_RUNNING").length === 2;
    });
    await run(["consumers", "rm", "idle"]);
    expect(await following).toMatchObject({ code: 1, stdout: expect.stringContaining("it was for was removed") });
    expect((await run(["events", "replay", "show", other.id])).stdout).toContain(" events, failed\n");
  });
});

describe("events as they come", () => {
  it("tail shows what trigger causes, as lines of JSON, and ends cleanly", async () => {
    const tail = start(["tail", "--type", COMPLETED, "--json"]);
    await until("it looks on", () => tail.written.stderr.includes("looking on"));
    const { did } = await json<{ did: string }>("trigger", COMPLETED);
    expect(did).toMatch(/^Completed "/);
    await until("the event came", () => tail.written.stdout.includes("\n"));
    tail.child.kill("SIGINT");
    const { code, stdout } = await tail.ended;
    expect(code).toBe(0);
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as Told).type),
    ).toEqual([COMPLETED]);
  });

  it("listen forwards signed webhooks, sends again what is refused, and leaves no consumer behind", async () => {
    const secret = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
    const verified: unknown[] = [];
    const answers = [503, 200];
    const receiver: Server = createServer((request: IncomingMessage, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        verified.push(new Webhook(secret).verify(Buffer.concat(chunks), request.headers as Record<string, string>));
        response.writeHead(answers.shift() ?? 200).end();
      });
    });
    await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
    const listen = start(["listen", "--forward-to", url], { TRIBUTARY_WEBHOOK_SECRET: secret });
    await until("it listens", () => listen.written.stderr.includes("listening to"));
    await json("trigger", "tributary.task.v1.TaskChanged");
    await until("it was taken", () => listen.written.stdout.includes("-> 200"));
    listen.child.kill("SIGTERM");
    const { code, stderr } = await listen.ended;
    receiver.close();
    expect(code).toBe(0);
    expect(stderr).toContain("answered 503; it is sent again");
    expect(stderr).not.toContain(secret);
    expect(verified).toHaveLength(2);
    expect(verified[0]).toEqual(verified[1]);
    expect(verified[0]).toMatchObject({ type: "tributary.task.v1.TaskChanged", data: { task: expect.any(Object) } });
    const { consumers } = await json<{ consumers: { name: string }[] }>("consumers", "ls");
    expect(consumers.map(({ name }) => name)).toEqual(["sample"]);
  });
});

describe("consumers and dead letters", () => {
  it("makes a consumer once, never changes it silently, shows how far behind it is, and removes it", async () => {
    const create = ["consumers", "create", "billing", "--type", COMPLETED];
    expect((await json<{ created: boolean }>(...create)).created).toBe(true);
    expect((await run(create)).stdout).toContain("was there already");
    const other = await run(["consumers", "create", "billing"]);
    expect(other).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/consumer_differs.*`tributary consumers update billing` changes it/),
    });
    expect((await run(["consumers", "update", "billing"])).code).toBe(2);
    expect(await json("consumers", "update", "billing", "--after-dead-letter", "hold")).toMatchObject({
      consumer: { types: [COMPLETED], afterDeadLetter: "AFTER_DEAD_LETTER_HOLD" },
    });
    expect(await json("consumers", "update", "billing", "--all-types")).toMatchObject({
      consumer: { types: [], afterDeadLetter: "AFTER_DEAD_LETTER_HOLD" },
    });
    expect((await run(["consumers", "lag", "billing"])).stdout).toContain("billing");
    // What is nothing is said to be nothing.
    const { consumer } = await json<{ consumer: object }>("consumers", "lag", "billing");
    expect(consumer).toMatchObject({ outstanding: "0", deadLetters: "0", connected: false });
    const { consumers } = await json<{ consumers: object[] }>("consumers", "ls");
    for (const one of consumers) expect(one).toMatchObject({ lag: expect.any(String), deadLetters: "0" });
    expect((await run(["consumers", "rm", "billing"])).code).toBe(0);
    expect(await run(["consumers", "rm", "billing"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("not_found"),
    });
  });

  it("says that there are no dead letters, and what it needs to know to redrive or drop", async () => {
    expect((await run(["dlq", "ls"])).stdout).toBe("There are no dead letters.\n");
    expect(await json("dlq", "redrive", "--consumer", "sample")).toEqual({ redriven: 0 });
    expect((await run(["dlq", "redrive"])).code).toBe(2);
    expect((await run(["dlq", "drop", "--consumer", "sample"])).code).toBe(2);
    expect((await run(["dlq", "show", "nothing"])).code).toBe(1);
  });
});

it("does what docs/operating-events.md tells to type, word for word", async () => {
  const page = readFileSync(new URL("../../../docs/operating-events.md", import.meta.url), "utf8");
  const typed = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = ""]) => block.trim().split("\n"));
  const lines = typed.filter((line) => line.startsWith("tributary "));
  expect(lines.length).toBeGreaterThan(8);
  for (const name of ["billing", "old-billing"]) await run(["consumers", "create", name]);
  const { events } = await json<{ events: (Told & { connectionId: string; sequence: string })[] }>("events", "ls");
  const headers = { authorization: `Bearer ${readFileSync(join(folder, "data/subscriber.key"), "utf8").trim()}` };
  for (const { connectionId, sequence } of events.filter(({ type }) => type === COMPLETED).slice(0, 3)) {
    const body = { consumer: "billing", connectionId, sequence, outcome: "OUTCOME_DEAD_LETTER", reason: "why" };
    const ack = `http://127.0.0.1:${env["TRIBUTARY_PORT"]}/tributary.api.v1.EventService/Ack`;
    const asJson = { ...headers, "content-type": "application/json" };
    expect((await fetch(ack, { method: "POST", headers: asJson, body: JSON.stringify(body) })).status).toBe(200);
  }
  const { deadLetters } = await json<{ deadLetters: { id: string }[] }>("dlq", "ls", "--consumer", "billing");
  for (const line of lines) {
    const { replays } = await json<{ replays: { id: string }[] }>("events", "replay", "ls");
    const words = [...line.replace("tributary ", "").matchAll(/"([^"]*)"|(\S+)/g)].map(
      ([, quoted, plain = ""]) => quoted ?? plain,
    );
    const args = words.map((word) => ({ "<letter>": deadLetters[0]?.id, "<replay>": replays[0]?.id })[word] ?? word);
    const { code, stderr } = await run(args);
    expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: "" });
  }
  await run(["consumers", "rm", "billing"]);
});

it("is a program: it prints, and ends with the code", async () => {
  expect(await start(["dlq", "ls"]).ended).toEqual({ code: 0, stdout: "There are no dead letters.\n", stderr: "" });
  expect((await start(["dlq", "redrive", "--json"]).ended).code).toBe(2);
});

/** What it is, what was typed with which settings, the exit code, and what is said. */
type Mistake = [string, readonly string[], Readonly<Record<string, string>>, number, string];

describe("what can go wrong", () => {
  const TYPES = "`tributary events schema` lists";
  const UNKNOWN_TYPE = [["tail"], ["listen"], ["events", "ls"], ["events", "replay"], ["consumers", "create", "x"]];
  UNKNOWN_TYPE.push(["dlq", "ls"], ["dlq", "redrive", "--consumer", "sample"]);
  const keyFile = join(folder, "wrong.key");
  it.each<Mistake>([
    ["nobody answers", ["events", "ls"], { TRIBUTARY_URL: "http://127.0.0.1:1" }, 4, "no hub answers"],
    ["nobody answers a tail", ["tail"], { TRIBUTARY_URL: "http://127.0.0.1:1" }, 4, "no hub answers"],
    ["no key", ["events", "ls"], { TRIBUTARY_DATA_DIR: join(folder, "none") }, 3, "no key to show"],
    ["a wrong key", ["events", "ls", "--token-file", keyFile], {}, 5, "invalid_token"],
    ["a wrong key for a tail", ["tail", "--token-file", keyFile], {}, 5, "invalid_token"],
    ["a wrong key to trigger", ["trigger", "--token-file", keyFile], {}, 5, `does not know the key of ${keyFile}`],
    ["a wrong key to listen", ["listen", "--name", "l", "--token-file", keyFile], {}, 5, "does not know the key"],
    ["a key that is none", ["events", "ls"], { TRIBUTARY_TOKEN: "żółć" }, 3, "TRIBUTARY_TOKEN holds no key"],
    ["a hub that speaks no TLS", ["events", "ls", "--url", "https://HUB"], {}, 4, "is it http:// or https://"],
    ["a tail that speaks TLS", ["tail", "--url", "https://HUB"], {}, 4, "is it http:// or https://"],
    ["a program that is no hub", ["events", "ls", "--url", "http://SANDBOX"], {}, 4, "is no hub (HTTP"],
    ["a program that is no hub to trigger", ["trigger", "--url", "http://SANDBOX"], {}, 4, "is no hub (HTTP"],
    ["an address with a path", ["events", "ls", "--url", "http://HUB/base"], {}, 3, "nothing behind the port"],
    ["an address that is none", ["events", "ls", "--url", "hub"], {}, 3, "http"],
    ["a time that is none", ["events", "ls", "--from", "soon"], {}, 2, "A time is"],
    ["times that hold nothing", ["events", "ls", "--from", "1h", "--until", "2h"], {}, 2, "--from must be before"],
    ["a replay of no time", ["events", "replay", "--from", "1h", "--until", "2h"], {}, 2, "--from must be before"],
    ...UNKNOWN_TYPE.map((words): Mistake => [
      `an unknown --type of ${words.join(" ")}`,
      [...words, "--type", "Nope"],
      {},
      2,
      TYPES,
    ]),
    ["an unknown type to trigger", ["trigger", "Nope"], {}, 6, "`tributary trigger` lists"],
    ["an unknown type to explain", ["events", "schema", "Nope"], {}, 6, TYPES],
    ["an unknown event", ["events", "get", "nope"], {}, 1, "`tributary events ls` lists"],
    ["an unknown dead letter", ["dlq", "show", "nope"], {}, 1, "`tributary dlq ls` lists"],
    ["an unknown one to redrive", ["dlq", "redrive", "nope"], {}, 1, "`tributary dlq ls` lists"],
    ["an unknown one to drop", ["dlq", "drop", "nope", "--reason", "x"], {}, 1, "`tributary dlq ls` lists"],
    ["an unknown consumer", ["consumers", "lag", "nope"], {}, 1, "`tributary consumers ls` lists"],
    ["an unknown consumer to replay to", ["events", "replay", "--to", "nope"], {}, 1, "`tributary consumers ls` lists"],
    [
      "an unknown consumer to change",
      ["consumers", "update", "nope", "--all-types"],
      {},
      1,
      "`tributary consumers ls`",
    ],
    ["an unknown consumer to remove", ["consumers", "rm", "nope"], {}, 1, "`tributary consumers ls` lists"],
    ["an unknown replay", ["events", "replay", "show", "nope"], {}, 1, "`tributary events replay ls` lists"],
    ["a consumer on NATS without a broker", ["consumers", "create", "n", "--road", "nats"], {}, 1, "NATS_URL"],
    ["nothing asked for", [], {}, 2, "name a command; --help lists them"],
    ["half a command", ["events"], {}, 2, "name a command; --help lists them"],
  ])("%s", async (_, typed, more, code, says) => {
    writeFileSync(keyFile, "k".repeat(40));
    const at = (port: string | undefined): string => `127.0.0.1:${port}`;
    const args = typed.map((one) =>
      one.replace("HUB", at(env["TRIBUTARY_PORT"])).replace("SANDBOX", at(env["TRIBUTARY_SANDBOX_PORT"])),
    );
    const ended = await run(args, more);
    expect(ended.code).toBe(code);
    // Without a command, people are shown the help instead.
    expect(ended.stderr).toContain(says.startsWith("name a command") ? "Commands:" : says);
    const told = await run([...args, "--json"], more);
    expect(told.code).toBe(code);
    expect((JSON.parse(told.stdout) as { message: string }).message).toContain(says);
  });
});
