import { hash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

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
  /** Every token that was ever issued: none may show up anywhere. */
  readonly issued: string[];
  /** Answers the next token request instead, after the effect has taken place when `late`. */
  readonly tokenFaults: Fault[];
  readonly revocationFaults: Fault[];
  /** Answers of the API by path; default: 200 for a valid token, 401 otherwise. */
  readonly routes: Map<string, (request: IncomingMessage, response: ServerResponse) => void>;
  settings: {
    rotate: boolean;
    graceUses: number;
    expiresIn: number | undefined;
    scope: string | undefined;
    holdMs: number;
  };
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
  readonly answer: (response: ServerResponse) => void;
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

export const CLIENT = { clientId: "client-1", clientSecret: "canary-client-secret-9f2" };

interface PendingCode {
  readonly challenge: string | null;
  readonly redirectUri: string;
}

export async function startFakeProvider(): Promise<FakeProvider> {
  const codes = new Map<string, PendingCode>();
  const access = new Set<string>();
  const refresh = new Map<string, number>();
  const mint = (kind: string): string => {
    const token = `canary-${kind}-${randomBytes(12).toString("hex")}`;
    provider.issued.push(token);
    return token;
  };

  function issue(): Record<string, unknown> {
    const token = mint("at");
    access.add(token);
    const { expiresIn, scope, rotate } = provider.settings;
    const fresh = rotate || refresh.size === 0 ? mint("rt") : undefined;
    if (fresh !== undefined) refresh.set(fresh, Number.POSITIVE_INFINITY);
    return {
      access_token: token,
      token_type: "Bearer",
      ...(expiresIn === undefined ? {} : { expires_in: expiresIn }),
      ...(scope === undefined ? {} : { scope }),
      ...(fresh === undefined ? {} : { refresh_token: fresh }),
    };
  }

  function grantFor(params: URLSearchParams, authorization: string): [number, Record<string, unknown>] {
    // RFC 6749 §2.3.1: id and secret are form-encoded before they go into HTTP Basic.
    const [id, password] = Buffer.from(authorization.replace(/^Basic /, ""), "base64")
      .toString()
      .split(":")
      .map(decodeURIComponent);
    const basic = id === CLIENT.clientId && password === CLIENT.clientSecret;
    const posted = params.get("client_id") === CLIENT.clientId && params.get("client_secret") === CLIENT.clientSecret;
    if (!basic && !posted) return [401, { error: "invalid_client" }];
    if (params.get("grant_type") === "refresh_token") {
      const token = params.get("refresh_token") ?? "";
      const uses = refresh.get(token) ?? 0;
      if (uses <= 0) return [400, { error: "invalid_grant", error_description: `unknown ${token}` }];
      if (provider.settings.rotate) refresh.set(token, Math.min(uses - 1, provider.settings.graceUses));
      return [200, issue()];
    }
    const code = params.get("code") ?? "";
    const pending = codes.get(code);
    codes.delete(code);
    const verified =
      pending !== undefined &&
      pending.redirectUri === params.get("redirect_uri") &&
      (pending.challenge === null ||
        hash("sha256", params.get("code_verifier") ?? "", "base64url") === pending.challenge);
    return verified ? [200, issue()] : [400, { error: "invalid_grant", error_description: `bad ${code}` }];
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const authorization = request.headers.authorization ?? "";
    const { pathname } = new URL(request.url ?? "/", provider.origin);
    if (pathname === "/oauth/token") {
      const params = new URLSearchParams(body);
      provider.tokenRequests.push(params);
      if (provider.settings.holdMs > 0) await new Promise((resolve) => setTimeout(resolve, provider.settings.holdMs));
      const fault = provider.tokenFaults.shift();
      if (fault !== undefined && fault.late !== true) return fault.answer(response);
      const [status, content] = grantFor(params, authorization);
      if (fault !== undefined) return fault.answer(response);
      return json(status, content, status === 401 ? { "www-authenticate": "Basic" } : {})(response);
    }
    if (pathname === "/oauth/revoke") {
      provider.revocations.push(new URLSearchParams(body));
      const fault = provider.revocationFaults.shift();
      if (fault !== undefined) return fault.answer(response);
      return void response.writeHead(200).end();
    }
    provider.apiRequests.push({ path: request.url ?? "", method: request.method ?? "", authorization, body });
    const route = provider.routes.get(pathname);
    if (route !== undefined) return route(request, response);
    if (!access.has(authorization.replace(/^Bearer /, ""))) return json(401, { error: "unauthorized" })(response);
    return json(200, { me: "person@example.com" })(response);
  }

  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const provider: FakeProvider = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tokenRequests: [],
    revocations: [],
    apiRequests: [],
    issued: [],
    tokenFaults: [],
    revocationFaults: [],
    routes: new Map(),
    settings: { rotate: true, graceUses: 0, expiresIn: 3600, scope: undefined, holdMs: 0 },
    consent: (url, change = {}) => {
      const asked = new URL(url).searchParams;
      const code = mint("code");
      codes.set(code, { challenge: asked.get("code_challenge"), redirectUri: asked.get("redirect_uri") ?? "" });
      return new URLSearchParams({ code, state: asked.get("state") ?? "", ...change });
    },
    expireAccess: () => access.clear(),
    forgetRefresh: () => refresh.clear(),
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return provider;
}
