import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { completed, type FakeHub, startFakeHub, TOKEN } from "../packages/subscriber/src/testing/index.ts";
import { command } from "./command.ts";
import { pack } from "./pack.ts";
import { repositoryRoot } from "./tree.ts";

/** A project of somebody else's: an empty folder with our two tarballs and what they depend on, and no TypeScript. */
let folder: string;
let hub: FakeHub;
beforeAll(async () => {
  hub = await startFakeHub();
  folder = mkdtempSync(join(tmpdir(), "tributary-stranger-"));
  writeFileSync(join(folder, "package.json"), `{ "name": "stranger", "private": true, "type": "module" }\n`);
  const tarballs = await pack(join(folder, "tarballs"));
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"];
  const installed = await command("npm", ["install", ...flags, ...tarballs], { cwd: folder, timeoutMs: 120_000 });
  if (installed.code !== 0) throw new Error(installed.output);
}, 150_000);
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

const SUBSCRIBER = `
import { subscribe } from "@tributary/subscriber";
import { TaskCompletedSchema } from "@tributary/contracts";

const [url, token] = process.argv.slice(2);
const subscription = await subscribe({ url, token, name: "stranger" })
  .on(TaskCompletedSchema, (event, context) => {
    console.log(event.task?.title, context.sequence);
    void subscription.stop();
  })
  .start();
await subscription.done;
`;

describe("the subscriber's tarball", () => {
  it("is all that a stranger needs to receive a typed event", async () => {
    writeFileSync(join(folder, "main.js"), SUBSCRIBER);
    hub.publish(completed("c1", 1));
    const ran = await command(process.execPath, ["main.js", hub.url, TOKEN], { cwd: folder, timeoutMs: 20_000 });
    expect(ran).toEqual({ code: 0, output: "Water 1n\n" });
    expect(hub.acks).toHaveLength(1);
  });

  it("carries the types: a handler's event is the message of its schema", async () => {
    const [right, wrong] = ["event.task?.title", "event.task?.titel"].map((read) =>
      SUBSCRIBER.replace("event.task?.title", read).replace(
        "process.argv.slice(2)",
        "process.argv.slice(2) as [string, string]",
      ),
    );
    const compiler = join(repositoryRoot, "node_modules/typescript-7/bin/tsc");
    const flags = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2024"];
    const types = ["--types", "node", "--typeRoots", join(repositoryRoot, "node_modules/@types")];
    const check = (text = "") => {
      writeFileSync(join(folder, "main.ts"), text);
      return command(process.execPath, [compiler, ...flags, ...types, "main.ts"], { cwd: folder });
    };
    expect(await check(right)).toEqual({ code: 0, output: "" });
    expect((await check(wrong)).output).toContain("Property 'titel' does not exist");
  });

  it("brings few packages with it", async () => {
    const { output } = await command("npm", ["ls", "--all", "--parseable"], { cwd: folder });
    const packages = output.trim().split("\n").length - 1;
    expect(packages).toBeGreaterThan(2);
    expect(packages).toBeLessThanOrEqual(14);
  });
});
