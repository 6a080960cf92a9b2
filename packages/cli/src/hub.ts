import { Code, type Client, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ConsumerService, DeadLetterService, EventService } from "@tributary/contracts";
import type { Command } from "commander";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type CommandContext, CommandFailure, EXIT } from "./command-line.ts";

/** Where the hub is, and what is shown to it. */
export interface Hub {
  readonly origin: string;
  readonly token: string;
  readonly events: Client<typeof EventService>;
  readonly consumers: Client<typeof ConsumerService>;
  readonly deadLetters: Client<typeof DeadLetterService>;
}

export const HUB_OPTIONS_HELP =
  "The hub is at --url or TRIBUTARY_URL (else this machine's). The key is TRIBUTARY_TOKEN, or in the file of --token-file; " +
  "else the data folder's own, for who can read that. A key is never an argument: other users see those.";

/** Adds what every command that talks to a hub takes. */
export const talking = (command: Command): Command =>
  command
    .option("--url <origin>", "where the hub is; default TRIBUTARY_URL, else this machine's")
    .option("--token-file <path>", "a file with the key; default TRIBUTARY_TOKEN, else the data folder's")
    .addHelpText("after", `\n${HUB_OPTIONS_HELP}`);

/** @throws CommandFailure config, when there is no key to show or no address to go to. */
export function hubOf({ env }: CommandContext, command: Command): Hub {
  const { url, tokenFile } = command.optsWithGlobals<{ url?: string; tokenFile?: string }>();
  const origin = url ?? env["TRIBUTARY_URL"] ?? `http://127.0.0.1:${env["TRIBUTARY_PORT"] ?? "4600"}`;
  if (!URL.canParse(origin) || !/^https?:$/.test(new URL(origin).protocol))
    throw new CommandFailure(EXIT.config, "the hub's address begins with http:// or https://");
  const token = tokenOf(env, tokenFile);
  const authorize: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const baseUrl = new URL(origin).origin;
  const transport = createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [authorize] });
  return {
    origin: baseUrl,
    token,
    events: createClient(EventService, transport),
    consumers: createClient(ConsumerService, transport),
    deadLetters: createClient(DeadLetterService, transport),
  };
}

function tokenOf(env: CommandContext["env"], tokenFile: string | undefined): string {
  const given = env["TRIBUTARY_TOKEN"];
  if (tokenFile === undefined && given !== undefined && given !== "") return given;
  const path = tokenFile ?? join(env["TRIBUTARY_DATA_DIR"] ?? ".data", "subscriber.key");
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    throw new CommandFailure(EXIT.config, `no key to show the hub: set TRIBUTARY_TOKEN, or let ${path} be readable`);
  }
}

const EXIT_OF: Partial<Record<Code, number>> = {
  [Code.InvalidArgument]: EXIT.usage,
  [Code.Unavailable]: EXIT.unreachable,
  [Code.DeadlineExceeded]: EXIT.unreachable,
  [Code.Unauthenticated]: EXIT.notAllowed,
  [Code.PermissionDenied]: EXIT.notAllowed,
  [Code.Unimplemented]: EXIT.contract,
};

/** What somebody is told who named what is not there. */
export interface Missing {
  /** A whole sentence: the command that lists what is. */
  readonly next: string;
  /** Default `failed`. */
  readonly exit?: number;
}

/**
 * Runs what talks to the hub, and turns the hub's refusals into ends with an exit code of their own.
 * @throws CommandFailure.
 */
export async function asking<T>(hub: Hub, work: () => Promise<T>, missing?: Missing): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof CommandFailure ? error : failureOf(hub, error, missing);
  }
}

function failureOf({ origin }: Hub, error: unknown, missing: Missing | undefined): unknown {
  if (!(error instanceof ConnectError)) return error;
  if (isAway(error)) return new CommandFailure(EXIT.unreachable, `no hub answers at ${origin}`);
  if (error.code === Code.NotFound && missing !== undefined)
    return new CommandFailure(missing.exit ?? EXIT.failed, `${error.rawMessage} ${missing.next}`);
  return new CommandFailure(EXIT_OF[error.code] ?? EXIT.failed, error.rawMessage);
}

/** Refused, reset, or no such host: the hub's own words come with a code and without a cause. */
function isAway(error: ConnectError): boolean {
  const code = error.cause instanceof Error ? (error.cause as NodeJS.ErrnoException).code : undefined;
  return code !== undefined && /^(ECONN|ENOTFOUND|EHOST|EPIPE|EAI_|ETIMEDOUT)/.test(code);
}
