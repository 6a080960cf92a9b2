import fs from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createLog } from "./log.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

/** What the log writes to standard error. */
function written(write: (log: ReturnType<typeof createLog>) => void): string {
  let text = "";
  const spy = vi.spyOn(fs, "writeSync").mockImplementation((_file: number, line: unknown) => {
    text += String(line);
    return Buffer.byteLength(String(line));
  });
  write(createLog("debug"));
  spy.mockRestore();
  return text;
}

const HOSTILE = [
  "a\nb",
  'a\r\n{"level":60}',
  "\u001b[2J\u001b[31mred",
  "\u2028x\u2029",
  "\u0000\u0007\u0085\u009b2J",
  '","level":60,"x":"',
];

describe("the hub's log", () => {
  it.each(HOSTILE)("keeps an event on one line, without a terminal's commands, whatever a field holds: %j", (text) => {
    const line = written((log) => log.warn({ reason: text, connector: text, path: text }, "a request was refused"));
    expect(line.endsWith("\n")).toBe(true);
    expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
    const shown = text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, "\ufffd");
    expect(JSON.parse(line)).toMatchObject({ level: 40, reason: shown, msg: "a request was refused" });
  });

  it("writes fields that it knows, as plain values of a bounded length, and drops everything else", () => {
    const error = Object.assign(new Error("secret"), { cause: "secret" });
    const line = written((log) =>
      log.error(
        { code: "conflict", token: "secret", error, reason: { deep: "secret" }, body: "secret", path: "p".repeat(999) },
        "x",
      ),
    );
    expect(line).not.toContain("secret");
    expect(Object.keys(JSON.parse(line) as object).toSorted()).toEqual(["code", "level", "msg", "path", "time"]);
    expect((JSON.parse(line) as { path: string }).path).toHaveLength(200);
  });

  it("keeps every field that a hub's own code tells it by name", () => {
    const told = SPEAKERS.flatMap((folder) => fieldsTold(join(import.meta.dirname, "../../..", folder)));
    expect(new Set(told).size).toBeGreaterThan(20);
    for (const name of new Set(told)) {
      const line = written((log) => log.warn({ [name]: "known" }, "x"));
      expect([name, (JSON.parse(line) as Record<string, unknown>)[name]]).toEqual([name, "known"]);
    }
  });
});

/** What runs in a hub; a subscriber's process has a log of its own. */
const SPEAKERS = ["api", "auth", "db", "integrations", "pipeline", "vault"]
  .map((name) => `packages/${name}/src`)
  .concat("services/hub/src");

/** Names of the fields in calls such as `log?.warn({ reason, count: 3 }, "…")`; what is spread in is told elsewhere. */
function fieldsTold(folder: string): string[] {
  const files = fs.readdirSync(folder, { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => file.endsWith(".ts") && !/\.test\.ts$|testing|demo/.test(file))
    .map((file) => fs.readFileSync(join(folder, file), "utf8"))
    .flatMap((text) => [...text.matchAll(/\blog\??\.(?:info|warn|error)\(\s*\{([^{}]*)\}/g)])
    .flatMap(([, fields = ""]) => fields.split(",").map((field) => field.split(":")[0]?.trim() ?? ""))
    .filter((name) => /^[a-z]\w*$/i.test(name));
}
