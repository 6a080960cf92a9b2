import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Providers, startProviders } from "./providers.ts";

let providers: Providers | undefined;
afterEach(async () => {
  await providers?.stop();
  providers = undefined;
});

describe("the simulated providers", () => {
  it("stand in for the real origins, one port each", async () => {
    providers = await startProviders({ ports: { todoist: 0 } });
    const { origin } = providers.running.todoist;
    expect([...providers.origins]).toEqual([
      ["https://api.todoist.com", origin],
      ["https://app.todoist.com", origin],
      ["https://todoist.com", origin],
    ]);
    expect(await (await fetch(origin)).text()).toContain("not the real Todoist");
  });

  it("share one clock, and pass on what a provider is started with", async () => {
    const options = { todoist: { seed: "empty", tokenPrefix: "canary-" } } as const;
    providers = await startProviders({ ports: { todoist: 0 }, options });
    const { clock, world } = providers.running.todoist.control;
    expect([clock, world.tasks()]).toEqual([providers.clock, []]);
  });

  it("leave nothing running when a port is taken", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    await expect(startProviders({ ports: { todoist: port } })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await new Promise((resolve) => taken.close(resolve));
  });

  it("do not start in production", async () => {
    await expect(startProviders({ ports: { todoist: 0 }, environment: { NODE_ENV: "production" } })).rejects.toThrow(
      "NODE_ENV=production",
    );
  });
});
