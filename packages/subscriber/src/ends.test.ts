import { getEventListeners } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";

import { completed } from "./testing/fake-hub.ts";
import { until, useHubStage } from "./testing/hub-stage.ts";

const stage = useHubStage();
const { listen } = stage;
const servers: Server[] = [];
afterEach(() => void servers.splice(0).map((server) => server.close()));
const warned = (): readonly string[] => stage.warned.map(([, message]) => message);

async function listening(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("the beginning", () => {
  it("is refused when the signal has aborted already, and nothing is asked", async () => {
    const reason = new Error("not today");
    await expect(listen(() => {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(stage.hub.requests).toEqual([]);
  });

  it("ends with the signal while it waits for a server that says nothing", async () => {
    const silent = await listening(createServer((socket) => socket.on("error", () => {})));
    const since = performance.now();
    const starting = listen(() => {}, { url: `http://${silent}`, signal: AbortSignal.timeout(50) });
    await expect(starting).rejects.toThrow("timeout");
    // The question itself would wait for 10 s.
    expect(performance.now() - since).toBeLessThan(8_000);
  });

  it("names the address and what answered, when that is no hub", async () => {
    const page = createHttpServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>"));
    const missing = createHttpServer((_, response) => response.writeHead(404).end());
    const broker = createServer((socket) => socket.on("error", () => {}).end('INFO {"server_id":"x"}\r\n'));
    for (const server of [page, missing, broker]) {
      const at = await listening(server);
      await expect(listen(() => {}, { url: `http://${at}` })).rejects.toThrow(
        new RegExp(`^(unreachable|refused): the hub at http://${at} answers \\w+: .+`),
      );
    }
  });
});

describe("the end", () => {
  it("does not wait for a handler that never ends, and says so", async () => {
    const begun = Promise.withResolvers<void>();
    const subscription = await listen(() => (begun.resolve(), new Promise(() => {})));
    stage.hub.publish(completed("c1", 1));
    await begun.promise;
    await subscription.stop(10);
    await subscription.done;
    expect(warned()).toContain("handlers that do not end are left behind; their events come again");
    expect(stage.hub.acks).toEqual([]);
  });

  it("waits for as long as it is told to", async () => {
    const begun = Promise.withResolvers<void>();
    let aborted = true;
    const subscription = await listen(async ({ signal }) => {
      begun.resolve();
      await sleep(100);
      aborted = signal.aborted;
    });
    stage.hub.publish(completed("c1", 1));
    await begun.promise;
    await subscription.stop(Number.POSITIVE_INFINITY);
    expect(aborted).toBe(false);
    expect(stage.hub.acks).toHaveLength(1);
  });

  it("leaves no listener on the signal or the process", async () => {
    const { signal } = new AbortController();
    const before = process.listenerCount("SIGUSR2");
    const subscription = await listen(() => {}, { signal, drainOn: ["SIGUSR2"] });
    expect([getEventListeners(signal, "abort").length, process.listenerCount("SIGUSR2")]).toEqual([1, before + 1]);
    await subscription.stop();
    expect([getEventListeners(signal, "abort").length, process.listenerCount("SIGUSR2")]).toEqual([0, before]);
  });

  it("is told in the log when the subscription cannot go on, for whoever does not await it", async () => {
    const unhandled: unknown[] = [];
    const listener = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", listener);
    await listen(() => {});
    stage.hub.knows();
    await until("it is told", () => warned().includes("the subscription cannot go on"));
    await sleep(20);
    process.off("unhandledRejection", listener);
    expect(unhandled).toEqual([]);
  });
});

describe("what somebody else's code does", () => {
  it.each([
    ["undefined", undefined],
    ["null", null],
    ["a string", "x"],
    ["an object", { code: 7 }],
  ])("throwing %s is a failure like any other", async (_, thrown) => {
    const calls: number[] = [];
    await listen(({ attempt }) => {
      calls.push(attempt);
      // eslint-disable-next-line no-throw-literal, typescript/only-throw-error -- that is what is tried
      if (attempt === 1) throw thrown;
    });
    stage.hub.publish(completed("c1", 1));
    await until("acknowledged", () => stage.hub.acks.length === 1);
    expect(calls).toEqual([1, 2]);
  });

  it("a log that throws takes no event with it", async () => {
    const broken = () => {
      throw new Error("disk full");
    };
    const calls: number[] = [];
    await listen(
      ({ attempt }) => {
        calls.push(attempt);
        if (attempt === 1) throw new Error("once");
      },
      { log: { info: broken, warn: broken } },
    );
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("both are acknowledged", () => stage.hub.acks.length === 2);
    expect(calls).toEqual([1, 2, 1, 2]);
  });
});
