import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FakeTokens, type FakeSettings } from "./fake-tokens.ts";

export { CLIENT } from "./fake-tokens.ts";

/** A provider on loopback with an authorization server and an API, strict about what RFC 6749 and RFC 7636 ask of it. */
export interface FakeProvider {
  readonly origin: string;
  /** Requests to the token endpoint, in order. */
  readonly tokenRequests: URLSearchParams[];
  readonly revocations: URLSearchParams[];
  readonly apiRequests: {
    readonly path: string;
    readonly method: string;
    readonly authorization: string;
    readonly body: string;
  }[];
  /** Secrets of the OAuth clients that it knows, by id. */
  readonly clients: Map<string, string>;
  /** Every token that was ever issued: none may show up anywhere. */
  readonly issued: string[];
  /** Answers the next token request instead, after the effect has taken place when `late`. */
  readonly tokenFaults: Fault[];
  readonly revocationFaults: Fault[];
  /** Answers of the API by path; default: 200 for a valid token, 401 otherwise. */
  readonly routes: Map<string, (request: IncomingMessage, response: ServerResponse) => void>;
  readonly settings: FakeSettings;
  /** What a browser does: follows the consent URL as somebody who agrees. @returns the callback's query. */
  consent(url: string, change?: Record<string, string>): URLSearchParams;
  /** Makes every access token invalid. */
  expireAccess(): void;
  /** Forgets every refresh token. */
  forgetRefresh(): void;
  stop(): Promise<void>;
}

export interface Fault {
  readonly late?: boolean;
  /** @param real gives the answer that there would have been; of a late one. */
  readonly answer: (response: ServerResponse, real: () => void) => void;
}

export const json = (status: number, body: unknown, headers: Record<string, string> = {}) => {
  return (response: ServerResponse): void => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
};
export const reset = (response: ServerResponse): void => {
  response.socket?.destroy();
};

export async function startFakeProvider(): Promise<FakeProvider> {
  const tokens = new FakeTokens();
  const server = createServer((request, response) => void answer(provider, tokens, request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const provider: FakeProvider = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tokenRequests: [],
    revocations: [],
    apiRequests: [],
    clients: tokens.clients,
    issued: tokens.issued,
    tokenFaults: [],
    revocationFaults: [],
    routes: new Map(),
    settings: tokens.settings,
    consent: (url, change = {}) => {
      const asked = new URL(url).searchParams;
      return new URLSearchParams({ code: tokens.authorize(asked), state: asked.get("state") ?? "", ...change });
    },
    expireAccess: () => tokens.access.clear(),
    forgetRefresh: () => tokens.refresh.clear(),
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return provider;
}

async function answer(
  provider: FakeProvider,
  tokens: FakeTokens,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString();
  const authorization = request.headers.authorization ?? "";
  const [path = ""] = (request.url ?? "").split("?");
  if (path === "/oauth/token") return answerToken(provider, tokens, new URLSearchParams(body), authorization, response);
  if (path === "/oauth/revoke") {
    provider.revocations.push(new URLSearchParams(body));
    const fault = provider.revocationFaults.shift();
    return fault === undefined ? void response.writeHead(200).end() : fault.answer(response, () => {});
  }
  provider.apiRequests.push({ path: request.url ?? "", method: request.method ?? "", authorization, body });
  const route = provider.routes.get(path);
  if (route !== undefined) return route(request, response);
  const valid = tokens.access.has(authorization.replace(/^Bearer /, ""));
  return json(valid ? 200 : 401, valid ? { me: "person@example.com" } : { error: "unauthorized" })(response);
}

async function answerToken(
  provider: FakeProvider,
  tokens: FakeTokens,
  params: URLSearchParams,
  authorization: string,
  response: ServerResponse,
): Promise<void> {
  provider.tokenRequests.push(params);
  if (tokens.settings.holdMs > 0) await new Promise((resolve) => setTimeout(resolve, tokens.settings.holdMs));
  const fault = provider.tokenFaults.shift();
  if (fault !== undefined && fault.late !== true) return fault.answer(response, () => {});
  const [status, content] = tokens.grant(params, authorization);
  const real = () => json(status, content, status === 401 ? { "www-authenticate": "Basic" } : {})(response);
  return fault === undefined ? real() : fault.answer(response, real);
}
