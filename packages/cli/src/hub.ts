import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
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
  /** Where the key comes from, in words: somebody whose key is refused has to know which. */
  readonly tokenFrom: string;
  readonly events: Client<typeof EventService>;
  readonly consumers: Client<typeof ConsumerService>;
  readonly deadLetters: Client<typeof DeadLetterService>;
}

/** A hub that takes longer to answer a single call is as good as away. Streams, and what moves thousands, say otherwise. */
export const ANSWER_MS_MAX = 60_000;
/** For a call's `timeoutMs`: it may take as long as it takes. */
export const UNHURRIED = 0;

/** Adds what every command that talks to a hub takes. */
export const talking = (command: Command): Command =>
  command
    .option("--url <origin>", "where the hub is; default TRIBUTARY_URL, else this machine's")
    .option(
      "--token-file <path>",
      "a file with the key to show; default TRIBUTARY_TOKEN, else the data folder's own. " +
        "A key is never an argument: other users of the machine see those",
    );

/** @throws CommandFailure config, when there is no key to show or no address to go to. */
export function hubOf({ env }: CommandContext, command: Command): Hub {
  const { url, tokenFile } = command.optsWithGlobals<{ url?: string; tokenFile?: string }>();
  const origin = originOf(url ?? env["TRIBUTARY_URL"] ?? `http://127.0.0.1:${env["TRIBUTARY_PORT"] ?? "4600"}`);
  const { token, tokenFrom } = tokenOf(env, tokenFile);
  const authorize: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: origin,
    httpVersion: "1.1",
    interceptors: [authorize],
    defaultTimeoutMs: ANSWER_MS_MAX,
  });
  return {
    origin,
    token,
    tokenFrom,
    events: createClient(EventService, transport),
    consumers: createClient(ConsumerService, transport),
    deadLetters: createClient(DeadLetterService, transport),
  };
}

function originOf(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new CommandFailure(EXIT.config, "the hub's address begins with http:// or https://");
  const { origin, pathname, search } = new URL(text);
  if (pathname !== "/" || search !== "")
    throw new CommandFailure(EXIT.config, `the hub's address has nothing behind the port: ${origin}`);
  return origin;
}

function tokenOf(env: CommandContext["env"], tokenFile: string | undefined) {
  const given = env["TRIBUTARY_TOKEN"];
  if (tokenFile === undefined && given !== undefined && given !== "")
    return { token: sendable(given.trim(), "TRIBUTARY_TOKEN"), tokenFrom: "TRIBUTARY_TOKEN" };
  const path = tokenFile ?? join(env["TRIBUTARY_DATA_DIR"] ?? ".data", "subscriber.key");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    throw new CommandFailure(EXIT.config, `no key to show the hub: set TRIBUTARY_TOKEN, or let ${path} be readable`);
  }
  return { token: sendable(text.trim(), path), tokenFrom: path };
}

/** What a header can carry, and a guard looks at. */
function sendable(token: string, from: string): string {
  if (/^[\x21-\x7e]{1,8000}$/.test(token)) return token;
  throw new CommandFailure(EXIT.config, `${from} holds no key: one is a line of letters, digits and signs`);
}
