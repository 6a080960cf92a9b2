import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  completed,
  type FakeHub,
  type NatsStage,
  openNatsStage,
  startFakeHub,
  TOKEN,
} from "../packages/subscriber/src/testing/index.ts";
import { command } from "./command.ts";
import { pack } from "./pack.ts";
import { repositoryRoot } from "./tree.ts";

/** A project of somebody else's: an empty folder with our two tarballs and what they depend on, and no TypeScript. */
let folder: string;
let hub: FakeHub;
let broker: NatsStage;
beforeAll(async () => {
  [hub, broker] = await Promise.all([startFakeHub(), openNatsStage()]);
  folder = mkdtempSync(join(tmpdir(), "tributary-stranger-"));
  writeFileSync(join(folder, "package.json"), `{ "name": "stranger", "private": true, "type": "module" }\n`);
  const tarballs = await pack(join(folder, "tarballs"));
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"];
  const installed = await command("npm", ["install", ...flags, ...tarballs], { cwd: folder, timeoutMs: 120_000 });
  if (installed.code !== 0) throw new Error(installed.output);
}, 150_000);
afterAll(async () => {
  await Promise.all([hub.close(), broker.stop()]);
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
  const run = (file: string, ...args: string[]) =>
    command(process.execPath, [file, ...args], { cwd: folder, timeoutMs: 120_000 });

  it("is all that a stranger needs to receive a typed event, over either road", async () => {
    writeFileSync(join(folder, "main.js"), SUBSCRIBER);
    hub.publish(completed("c1", 1));
    expect(await run("main.js", hub.url, TOKEN)).toEqual({ code: 0, output: "Water 1n\n" });
    expect(hub.acks).toHaveLength(1);
    await broker.publish("c1", 1);
    expect(await run("main.js", broker.nats.url)).toEqual({
      code: 0,
      output: expect.stringMatching(/^Water.* 1n\n$/) as string,
    });
  });

  it("can be required by CommonJS", async () => {
    writeFileSync(join(folder, "common.cjs"), `console.log(typeof require("@tributary/subscriber").subscribe)`);
    expect(await run("common.cjs")).toEqual({ code: 0, output: "function\n" });
  });

  it.each([
    ["nodenext", "nodenext"],
    ["node16", "node16"],
    ["esnext", "bundler"],
  ])("carries types that are whole, for modules of %s found by %s", async (module, moduleResolution) => {
    const [right, wrong] = ["event.task?.title", "event.task?.titel"].map((read) =>
      SUBSCRIBER.replace("event.task?.title", read).replace(
        "process.argv.slice(2)",
        "process.argv.slice(2) as [string, string]",
      ),
    );
    const compiler = join(repositoryRoot, "node_modules/typescript-7/bin/tsc");
    const flags = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "false"];
    const modules = ["--target", "es2022", "--module", module, "--moduleResolution", moduleResolution];
    const types = ["--types", "node", "--typeRoots", join(repositoryRoot, "node_modules/@types")];
    const check = (text = "") => {
      writeFileSync(join(folder, "main.ts"), text);
      return command(process.execPath, [compiler, ...flags, ...modules, ...types, "main.ts"], { cwd: folder });
    };
    expect(await check(right)).toEqual({ code: 0, output: "" });
    expect((await check(wrong)).output).toContain("Property 'titel' does not exist");
  });

  it.each(["contracts", "subscriber"])("of %s says what it is, and points only at what it holds", (name) => {
    const home = join(folder, "node_modules/@tributary", name);
    const manifest = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as Record<string, object>;
    expect(manifest).toMatchObject({
      license: "Apache-2.0",
      description: expect.stringMatching(/^[A-Z].*\.$/) as string,
      engines: { node: ">=22" },
    });
    expect(JSON.stringify(manifest)).not.toMatch(/workspace:|catalog:|"private"/);
    const named = [...JSON.stringify(manifest).matchAll(/"(\.\/[^"]+)"(?!:)/g)].map(([, path = ""]) => path);
    expect(named).toContain("./dist/index.d.ts");
    for (const path of [...named, "README.md", "LICENSE"]) expect(existsSync(join(home, path)), path).toBe(true);
    const declarations = readdirSync(join(home, "dist"), { recursive: true, encoding: "utf8" });
    for (const file of declarations.filter((each) => each.endsWith(".d.ts")))
      for (const [, target = ""] of readFileSync(join(home, "dist", file), "utf8").matchAll(/ from "(\.[^"]+)"/g))
        expect(existsSync(join(home, "dist", file, "..", target)), `${file} ${target}`).toBe(true);
  });

  it("brings few packages with it", async () => {
    const { output } = await command("npm", ["ls", "--all", "--parseable"], { cwd: folder });
    const packages = output.trim().split("\n").length - 1;
    expect(packages).toBeGreaterThan(2);
    expect(packages).toBeLessThanOrEqual(14);
  });
});
