import { Agent, createServer, type IncomingMessage, request as send, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { CANARY } from "@tributary/conformance";
import type { Process } from "./processes.ts";
import { type Account, accountOfToken, type Town } from "./town.ts";
import type { Turns } from "./turns.ts";

/** How the provider may treat a request. All but the first three are faults. */
export const FAULTS = ["429", "500", "503", "garbage", "error in 200", "cut before", "cut after", "truncated"] as const;

/** The provider as one hub sees it: the emulators of all accounts behind one origin, misbehaving as they are told. */
export interface Front {
  readonly origin: string;
  stop(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

const agent = new Agent({ keepAlive: true });

/**
 * Each request waits at a gate before it reaches an emulator. Fates: "pass", "slow" (its answer waits at a gate of its
 * own), "drop" (it never arrived), or a fault.
 */
export async function openFront(process: Process, town: Town, turns: Turns): Promise<Front> {
  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = await bodyOf(incoming);
    const { method = "GET", url = "/" } = incoming;
    const [path = "/"] = url.split("?");
    const account = town.accounts[accountOfToken(`${incoming.headers.authorization} ${url} ${body.toString()}`) ?? 0];
    if (account === undefined) throw new Error("there is no such account");
    const what = (): string => `${method} ${path} of account ${account.index}`;
    const fate = await turns.wait({ kind: "request", process, what });
    if (fate === "drop" || fate === "cut before") {
      outgoing.destroy();
      return;
    }
    const made = madeUp(fate);
    if (made !== undefined) return answer(outgoing, made);
    const real = await turns.during(() => forward(account, incoming, body));
    if (path === TOKEN_PATH) note(town, account, body, real);
    if (path === REVOKE_PATH && real.status < 300) account.revoked = true;
    if (fate === "slow") await turns.wait({ kind: "answer", process, what });
    if (fate === "cut after") {
      outgoing.destroy();
      return;
    }
    if (fate !== "truncated") return answer(outgoing, real);
    outgoing.writeHead(real.status, { ...plain(real.headers), "content-length": String(real.body.length + 1) });
    outgoing.write(real.body.subarray(0, real.body.length >> 1), () => outgoing.destroy());
  };
  const server = createServer((incoming, outgoing) => {
    serve(incoming, outgoing).catch(() => outgoing.destroy());
  });
  // A socket that ends by itself would be a fault that nobody chose.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const TOKEN_PATH = "/oauth/access_token";
const REVOKE_PATH = "/api/v1/revoke";

/** What the provider knows of an account's credentials: see `Account`. */
function note(town: Town, account: Account, body: Buffer, { status }: Answer): void {
  const refresh = body.includes("grant_type=refresh_token");
  if (status === 200 && refresh) account.rotating = true;
  if (status !== 400 || !refresh) return;
  if (!account.revoked && !account.rotating)
    town.problems.push(`account ${account.index}: a refresh token was used again although its successor was stored`);
  account.revoked = true;
}

function madeUp(fate: string): Answer | undefined {
  const headers = { "content-type": "application/json" };
  const made = (status: number, body: string, more: object = {}): Answer => ({
    status,
    headers: { ...headers, ...more },
    body: Buffer.from(body),
  });
  switch (fate) {
    case "429":
      return made(429, JSON.stringify({ error: "Too many requests", error_extra: { retry_after: 40 } }), {
        "retry-after": "40",
      });
    case "500":
      return made(500, `{"error":"${CANARY}internal"}`);
    case "503":
      return made(503, `<html>${CANARY}down for maintenance</html>`, { "content-type": "text/html" });
    case "garbage":
      return made(200, `\u0000{"${CANARY}garbage":`);
    case "error in 200":
      return made(200, JSON.stringify({ error: `${CANARY}something`, error_code: 1, error_tag: "OOPS" }));
    default:
      return undefined;
  }
}

function answer(outgoing: ServerResponse, { status, headers, body }: Answer): void {
  outgoing.writeHead(status, { ...plain(headers), "content-length": String(body.length) });
  outgoing.end(body);
}

/** Without what belongs to one connection only. */
function plain(headers: IncomingMessage["headers"]): Record<string, string | string[]> {
  const { connection: _, "keep-alive": __, "transfer-encoding": ___, "content-length": ____, ...rest } = headers;
  return rest as Record<string, string | string[]>;
}

async function bodyOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const forward = (account: Account, incoming: IncomingMessage, body: Buffer): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const { method, url, headers } = incoming;
    const kept = { ...plain(headers), "content-length": String(body.length) };
    const onward = send(`${account.emulator.origin}${url}`, { method, headers: kept, agent }, (response) => {
      bodyOf(response).then(
        (read) => resolve({ status: response.statusCode ?? 500, headers: response.headers, body: read }),
        reject,
      );
    });
    onward.on("error", reject);
    onward.end(body);
  });
