import { toBinary } from "@bufbuild/protobuf";
import { createClock, type RunningEmulator } from "@tributary/sandbox";
import { type Connector, ConnectorError, readJson, type RequestOptions, type Signal, type User } from "@tributary/sdk";
import { hash } from "node:crypto";
import { expect } from "vitest";
import { emulators, todoistAccount, todoistClient } from "../src/emulators.ts";
import { todoist as connector, type TodoistCursor } from "../src/todoist/connector.ts";
import type { TodoistWorld } from "../src/todoist/emulator-world.ts";

/** The connector as the runtime sees it. */
export const todoist: Connector<TodoistCursor> = connector;
export type Todoist = RunningEmulator<TodoistWorld>;

const redirectUri = "http://127.0.0.1:1/callback";
export const client = todoistClient(redirectUri);
/** Every token of the emulator starts with it. */
export const CANARY = "canary-7f3a-";

/** A simulated Todoist whose time stands still. */
export async function startTodoist(): Promise<Todoist> {
  const emulator = await emulators.todoist.start({
    port: 0,
    clock: createClock(),
    clients: [client],
    tokenPrefix: CANARY,
    webhookUrl: "http://127.0.0.1:1/nobody",
  });
  emulator.control.clock.freeze();
  return emulator;
}

/** Consent as the vault does it: PKCE, the page, the form, the exchange. */
export async function consent(emulator: Todoist): Promise<string> {
  const verifier = "v".repeat(43);
  const authorize = new URLSearchParams({
    response_type: "code",
    client_id: client.clientId,
    redirect_uri: redirectUri,
    scope: todoist.scopes.map(({ id }) => id).join(","),
    state: "s",
    code_challenge: hash("sha256", verifier, "base64url"),
    code_challenge_method: "S256",
  });
  const page = await fetch(`${emulator.origin}/oauth/authorize?${authorize}`);
  const request = /name="request" value="([^"]+)"/.exec(await page.text())?.[1] ?? "";
  const answer = await fetch(`${emulator.origin}/oauth/authorize`, {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ request, decision: "allow", account: todoistAccount.id }),
  });
  const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
  const tokens = await fetch(`${emulator.origin}/oauth/access_token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      client_id: client.clientId,
      client_secret: client.clientSecret,
    }),
  });
  return ((await tokens.json()) as { access_token: string }).access_token;
}

/** A user on a bare token: what the runtime and the vault are in production. */
export async function linkedUser(emulator: Todoist): Promise<User> {
  const token = await consent(emulator);
  const now = (): Date => emulator.control.clock.now();
  const send = (
    url: string,
    { method = "GET", query, form, json, headers }: RequestOptions = {},
  ): Promise<Response> => {
    const target = new URL(url.replace("https://api.todoist.com", emulator.origin));
    for (const [name, value] of Object.entries(query ?? {})) target.searchParams.set(name, value);
    const body = form === undefined ? json && JSON.stringify(json) : new URLSearchParams(form);
    return fetch(target, {
      method,
      headers: { ...headers, authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body: body as string }),
    });
  };
  const unused = (): never => expect.unreachable();
  return {
    id: "user",
    organizationId: "org",
    connectionId: "connection",
    account: undefined,
    apiVersion: "v1",
    backfillFrom: new Date(now().getTime() - 60 * 86_400_000),
    signal: AbortSignal.timeout(10_000),
    now,
    log: () => {},
    fetch: send,
    json: async (schema, url, init) => readJson(schema, await send(url, init), now),
    begin: unused,
    forget: unused,
  };
}

export interface Run {
  readonly signals: Signal[];
  readonly cursor: TodoistCursor | undefined;
}

/** Drives a run, or the first `yields` of it. */
export async function run(user: User, since?: TodoistCursor, yields = Infinity): Promise<Run> {
  const signals: Signal[] = [];
  let pending: Signal[] = [];
  let cursor: TodoistCursor | undefined;
  let seen = 0;
  for await (const yielded of todoist.fetchSignals(user, since)) {
    if (yielded.kind === "signal") pending.push(yielded);
    else {
      signals.push(...pending);
      pending = [];
      cursor = yielded.cursor;
    }
    if (++seen === yields) break;
  }
  return { signals, cursor };
}

/** The instruction that an attempt ended with; it quotes no token. */
export const failureOf = async (attempt: Promise<unknown>): Promise<ConnectorError> => {
  const error: unknown = await attempt.then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ConnectorError);
  expect(`${String(error)} ${JSON.stringify(error)}`).not.toContain(CANARY);
  return error as ConnectorError;
};

/** What makes two signals one event: as the runtime stamps them. */
export const mark = ({ schema, id, revision, message }: Signal): string =>
  `${schema.typeName} ${id} ${revision ?? hash("sha256", toBinary(schema, message))}`;
