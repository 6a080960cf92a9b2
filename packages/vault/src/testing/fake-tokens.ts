import { hash, randomBytes } from "node:crypto";

export const CLIENT = { clientId: "client-1", clientSecret: "canary-client-secret-9f2" };

export interface FakeSettings {
  /** A renewal gives a new refresh token, and the old one stops working after `graceUses` more. */
  rotate: boolean;
  graceUses: number;
  /** Seconds; absent from answers when undefined. */
  expiresIn: number | undefined;
  scope: string | undefined;
  /** The token endpoint answers after so long. */
  holdMs: number;
}

/** The books of a provider: which codes and tokens it made, and which of them are good. */
export class FakeTokens {
  readonly settings: FakeSettings = { rotate: true, graceUses: 0, expiresIn: 3600, scope: undefined, holdMs: 0 };
  readonly issued: string[] = [];
  /** Secrets of the clients that it knows, by id. */
  readonly clients = new Map([[CLIENT.clientId, CLIENT.clientSecret]]);
  readonly access = new Set<string>();
  /** How often each refresh token may still be used. */
  readonly refresh = new Map<string, number>();
  readonly #codes = new Map<
    string,
    { readonly challenge: string | null; readonly redirectUri: string; readonly clientId: string }
  >();

  /** @returns a code. */
  authorize(asked: URLSearchParams): string {
    const code = this.#mint("code");
    const [redirectUri, clientId] = [asked.get("redirect_uri") ?? "", asked.get("client_id") ?? ""];
    this.#codes.set(code, { challenge: asked.get("code_challenge"), redirectUri, clientId });
    return code;
  }

  /** @returns status and body of the token endpoint. */
  grant(params: URLSearchParams, authorization: string): [number, Record<string, unknown>] {
    const clientId = this.#authenticate(params, authorization);
    if (clientId === undefined) return [401, { error: "invalid_client" }];
    if (params.get("grant_type") === "refresh_token") return this.#renew(params.get("refresh_token") ?? "");
    const code = params.get("code") ?? "";
    const pending = this.#codes.get(code);
    this.#codes.delete(code);
    const verified =
      pending !== undefined &&
      pending.clientId === clientId &&
      pending.redirectUri === params.get("redirect_uri") &&
      // RFC 7636 §4.6; a verifier without a challenge is refused as well.
      (pending.challenge === null
        ? !params.has("code_verifier")
        : hash("sha256", params.get("code_verifier") ?? "", "base64url") === pending.challenge);
    return verified ? [200, this.#issue()] : [400, { error: "invalid_grant", error_description: `bad ${code}` }];
  }

  #renew(token: string): [number, Record<string, unknown>] {
    const uses = this.refresh.get(token) ?? 0;
    if (uses <= 0) return [400, { error: "invalid_grant", error_description: `unknown ${token}` }];
    if (this.settings.rotate) this.refresh.set(token, Math.min(uses - 1, this.settings.graceUses));
    return [200, this.#issue()];
  }

  #issue(): Record<string, unknown> {
    const { expiresIn, scope, rotate } = this.settings;
    const token = this.#mint("at");
    this.access.add(token);
    const fresh = rotate || this.refresh.size === 0 ? this.#mint("rt") : undefined;
    if (fresh !== undefined) this.refresh.set(fresh, Number.POSITIVE_INFINITY);
    return {
      access_token: token,
      token_type: "Bearer",
      ...(expiresIn === undefined ? {} : { expires_in: expiresIn }),
      ...(scope === undefined ? {} : { scope }),
      ...(fresh === undefined ? {} : { refresh_token: fresh }),
    };
  }

  #mint(kind: string): string {
    const token = `canary-${kind}-${randomBytes(12).toString("hex")}`;
    this.issued.push(token);
    return token;
  }

  /** @returns the id of the client that it is; RFC 6749 §2.3.1: id and secret are form-encoded before HTTP Basic. */
  #authenticate(params: URLSearchParams, authorization: string): string | undefined {
    const [id = "", secret = ""] = authorization.startsWith("Basic ")
      ? Buffer.from(authorization.slice(6), "base64").toString().split(":").map(decodeURIComponent)
      : [params.get("client_id") ?? "", params.get("client_secret") ?? ""];
    return secret !== "" && this.clients.get(id) === secret ? id : undefined;
  }
}
