import { randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import { expect } from "vitest";
import {
  createGuard,
  createServiceKeys,
  createTokens,
  type Guard,
  type Rejection,
  type TokenOptions,
} from "../index.ts";

export const SECRET = "a secret of the issuer, of more than 32 bytes";
export const ISSUER = "https://id.example.com";
export const AUDIENCE = "tributary";
export const NOW = new Date("2026-11-21T12:00:00Z");
export const SECONDS = Math.floor(NOW.getTime() / 1000);
export const KEY = "k".repeat(32);
export const NEXT_KEY = "n".repeat(40);

export type Change = Readonly<Record<string, unknown>>;
export const claims = {
  sub: "user-1",
  iss: ISSUER,
  aud: AUDIENCE,
  exp: SECONDS + 600,
  organization_id: "acme",
  app_metadata: { claims: { integration_admin: true } },
};

/** A guard of the issuer's tokens and of two services' keys, and what it logged. */
export function guardWith(
  keys: TokenOptions["keys"] = { secret: SECRET },
  change: Partial<TokenOptions> = {},
): Guard & { readonly rejections: Rejection[] } {
  const rejections: Rejection[] = [];
  const guard = createGuard({
    serviceKeys: createServiceKeys([
      { name: "scheduler", organizationId: "acme", key: KEY },
      { name: "scheduler", organizationId: "acme", key: NEXT_KEY },
      { name: "reader", organizationId: "acme", key: "r".repeat(32), permissions: ["integrations.view"] },
    ]),
    tokens: createTokens({ issuer: ISSUER, audience: AUDIENCE, keys, now: () => NOW, ...change }),
    log: (rejection) => rejections.push(rejection),
    now: () => NOW,
    uuid: randomUUID,
  });
  return { ...guard, rejections };
}

export const sign = (change: Change = {}, header: Change = {}, secret = SECRET): Promise<string> =>
  new SignJWT({ ...claims, ...change }).setProtectedHeader({ alg: "HS256", ...header }).sign(Buffer.from(secret));

export const request = (token: string | undefined, path = "/functions/sync", init: RequestInit = {}): Request =>
  new Request(`https://hub.example.com${path}`, {
    ...init,
    headers: {
      ...(init.headers as Record<string, string>),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
  });

export const post = (body: string, type = "application/json"): RequestInit => ({
  method: "POST",
  body,
  headers: { "content-type": type },
});

/** What arrived, as bytes and as headers that a caller could tell apart; status 0 when it was let through. */
export async function answerTo(asked: Request, verifyRequest: Guard["verifyRequest"]) {
  const answer = await verifyRequest(asked);
  if (!(answer instanceof Response)) return { status: 0, body: "", headers: {} };
  const headers = Object.fromEntries(answer.headers);
  expect(headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  delete headers["x-request-id"];
  return { status: answer.status, body: await answer.text(), headers };
}
