import { freePorts } from "@tributary/db/testing";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * From the command to the line that says the hub runs, embedded, on a folder that a hub has used before; simulated
 * providers included. The ceiling is a process that opens the same database with PGlite and asks it one question. A lower
 * ratio is better.
 */
const READY_MS_MAX = 60_000;

export default {
  name: "hub/start",
  unit: "ms",
  goal: { of: "ours", atMost: 3_000 },
  repeats: 3,
  async run() {
    const folder = mkdtempSync(join(tmpdir(), "tributary-bench-"));
    try {
      await start(folder);
      const ours = await start(folder);
      const ceiling = await openDatabase(folder);
      return { ours, ceiling };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function start(folder: string): Promise<number> {
  // The simulated providers take a block of ports.
  const port = await freePorts(3);
  const env = {
    PATH: process.env["PATH"],
    TRIBUTARY_DATA_DIR: folder,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
  };
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  return untilSaid("is running at", spawn(process.execPath, [main], { env, stdio: ["ignore", "pipe", "inherit"] }));
}

function openDatabase(folder: string): Promise<number> {
  const script = fileURLToPath(new URL("./open-database.ts", import.meta.url));
  const child = spawn(process.execPath, [script, join(folder, "database")], { stdio: ["ignore", "pipe", "inherit"] });
  return untilSaid("open", child);
}

/** Milliseconds from now until it says the words; then it is asked to end, and has ended. */
async function untilSaid(words: string, child: ChildProcess): Promise<number> {
  const begin = performance.now();
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  try {
    return await new Promise<number>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error("not ready in time")), READY_MS_MAX);
      let said = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        said += chunk.toString("utf8");
        if (!said.includes(words)) return;
        clearTimeout(late);
        resolve(performance.now() - begin);
      });
      child.once("exit", (code) => {
        clearTimeout(late);
        reject(new Error(`ended with ${code} before it was ready`));
      });
    });
  } finally {
    if (child.exitCode === null) child.kill("SIGTERM");
    await gone;
  }
}
