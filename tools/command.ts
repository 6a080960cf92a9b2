import { spawn } from "node:child_process";

/** What a finished program left behind. */
export interface Finished {
  /** Exit code; 1 when a signal ended it. */
  readonly code: number;
  /** Standard output and standard error, interleaved as they came. */
  readonly output: string;
}

export interface CommandOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The program is ended when it takes longer. Default: no limit. */
  readonly timeoutMs?: number;
}

/** Runs a program to its end and keeps what it printed. Never throws for a failing program; a missing one is code 127. */
export function command(program: string, args: readonly string[], options: CommandOptions): Promise<Finished> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, NO_COLOR: "1", ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (chunk: string): void => {
      output += chunk;
    };
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    child.on("error", (error) => resolve({ code: 127, output: `${program}: ${error.message}\n` }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

/** Runs a program that talks to the terminal itself; resolves with its exit code, 1 when a signal ended it. */
export function attached(program: string, args: readonly string[], options: CommandOptions): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "inherit", "inherit"],
      timeout: options.timeoutMs,
    });
    child.on("error", (error) => {
      process.stderr.write(`${program}: ${error.message}\n`);
      resolve(127);
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
}
