import { Hono } from "hono";
import { afterEach, describe, expect, it } from "vitest";
import { type Emulator, type EmulatorOptions, type RunningEmulator, startEmulator } from "./emulator.ts";
import type { Fault } from "./faults.ts";

/** Counts what reached it. */
interface Counter {
  hits: number;
}
const counter: Emulator<Counter> = {
  id: "counter",
  create: () => {
    let world: Counter = { hits: 0 };
    const app = new Hono();
    app.all("/*", (c) => c.json({ hits: ++world.hits, text: "0123456789".repeat(10) }));
    return {
      app,
      get world() {
        return world;
      },
      reset: () => void (world = { hits: 0 }),
      snapshot: () => world,
      restore: (snapshot) => void (world = snapshot as Counter),
    };
  },
};
const running: RunningEmulator<Counter>[] = [];
async function start(options: Partial<EmulatorOptions> = {}): Promise<RunningEmulator<Counter>> {
  const emulator = await startEmulator(counter, { port: 0, ...options });
  running.push(emulator);
  return emulator;
}
afterEach(async () => {
  await Promise.all(running.splice(0).map((emulator) => emulator.stop()));
});

/** Status and length of the body, or what broke. */
const ask = (url: string, init?: RequestInit): Promise<readonly [number, string | null] | string> =>
  fetch(url, init)
    .then(async (response) => [response.status, await response.text()] as const)
    .catch(() => "broken");

describe("an emulator", () => {
  it("listens on loopback, and stops", async () => {
    const { origin, stop } = await start();
    expect(origin).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await ask(origin))[0]).toBe(200);
    await stop();
    expect(await ask(origin)).toBe("broken");
  });

  it("passes on that its port is taken", async () => {
    const { origin } = await start();
    await expect(start({ port: Number(new URL(origin).port) })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  it("does not start in production unless told", async () => {
    const environment = { NODE_ENV: "production" };
    await expect(start({ environment })).rejects.toThrow("NODE_ENV=production");
    expect((await start({ environment, allowProduction: true })).id).toBe("counter");
  });

  it("refuses a body that is larger than a megabyte", async () => {
    const { origin } = await start();
    expect((await ask(origin, { method: "POST", body: "x".repeat(1024 * 1024 + 1) }))[0]).toBe(413);
  });

  it("goes back to its seed", async () => {
    const { origin, control } = await start();
    await ask(origin);
    control.faults.add({ match: {}, status: 500 });
    control.reset();
    expect([control.world.hits, control.faults.pending, control.journal.entries]).toEqual([0, 0, []]);
    expect((await ask(origin))[0]).toBe(200);
    expect(control.world.hits).toBe(1);
  });

  it("goes on where it was, when it has a place to keep what it knows", async () => {
    let kept: Uint8Array | undefined;
    const store = { load: () => kept, save: (state: Uint8Array) => void (kept = state) };
    const first = await start({ store });
    await ask(first.origin, { method: "POST", body: "x" });
    await first.stop();
    const second = await start({ store });
    expect(second.control.world).toEqual({ hits: 1 });
  });

  it("remembers what was asked, without what could be a secret", async () => {
    const { origin, control } = await start();
    await ask(`${origin}/path?access_token=canary-1&plain=yes`, {
      headers: { authorization: "Bearer canary-2", cookie: "a=canary-3", accept: "x/y" },
    });
    const [entry] = control.journal.entries;
    expect(entry).toMatchObject({
      method: "GET",
      path: "/path",
      query: { access_token: "(removed)", plain: "yes" },
      status: 200,
    });
    expect(entry?.headers["accept"]).toBe("x/y");
    expect(JSON.stringify(entry)).not.toContain("canary");
  });
});

describe("a fault", () => {
  it.each<[string, Fault, unknown, number]>([
    ["answers instead", { match: {}, status: 503, body: "no" }, [503, "no"], 0],
    ["answers in JSON", { match: {}, status: 400, body: { error: "e" } }, [400, '{"error":"e"}'], 0],
    ["answers after the request had its effect", { match: {}, status: 503, body: "", afterEffect: true }, [503, ""], 1],
    ["breaks the connection before", { match: {}, reset: true }, "broken", 0],
    ["breaks the connection after", { match: {}, reset: true, afterEffect: true }, "broken", 1],
    ["breaks it in the middle of the answer", { match: {}, truncate: 20 }, "broken", 1],
    ["leaves other paths alone", { match: { path: "/other" }, status: 500 }, [200, expect.any(String)], 1],
    ["leaves other methods alone", { match: { method: "POST" }, status: 500 }, [200, expect.any(String)], 1],
    ["only waits", { match: { path: /^\/$/ }, delayMs: 1 }, [200, expect.any(String)], 1],
  ])("%s", async (_what, fault, expected, effects) => {
    const { origin, control } = await start();
    control.faults.add(fault);
    expect(await ask(origin)).toEqual(expected);
    expect(control.world.hits).toBe(effects);
  });

  it("hits as often as it says, after as many as it says, and then no more", async () => {
    const { origin, control } = await start();
    control.faults.add({ match: {}, after: 1, times: 2, status: 500 });
    const statuses = [];
    for (let requests = 0; requests < 4; requests++) statuses.push((await ask(origin))[0]);
    expect(statuses).toEqual([200, 500, 500, 200]);
    expect(control.faults.pending).toBe(0);
  });

  it("adds headers to a real answer", async () => {
    const { origin, control } = await start();
    control.faults.add({ match: {}, headers: { "retry-after": "3" } });
    const response = await fetch(origin);
    expect([response.status, response.headers.get("retry-after")]).toEqual([200, "3"]);
    await response.body?.cancel();
  });
});
