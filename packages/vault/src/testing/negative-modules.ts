import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import type { OAuth2Spec } from "@tributary/sdk";
import type { VaultErrorCode } from "../errors.ts";
import { json, reset } from "./fake-provider.ts";

/** One thing that an authorization server, or somebody in its place, does wrong. */
export interface NegativeModule {
  /** Where: in what the browser brings back, in the answer to a code, or in the answer to a refresh token. */
  readonly at: "callback" | "exchange" | "renewal";
  readonly wrong: string;
  readonly code: VaultErrorCode;
  /** That reach the token endpoint, whatever it answers. */
  readonly tokenRequests: number;
  readonly spec?: Partial<OAuth2Spec>;
  /** Changes the callback's query. */
  readonly query?: (query: URLSearchParams) => void;
  /** Instead of every answer of the token endpoint. */
  readonly answer?: (response: ServerResponse) => void;
  /** The answer never comes to its end: only a deadline does. */
  readonly endless?: boolean;
}

const ISSUER = "https://provider.example.com";
const SECRETS = { access_token: "canary-at-planted", refresh_token: "canary-rt-planted" };
const GOOD = { ...SECRETS, token_type: "Bearer", expires_in: 3600 };
const CANARY_TEXT = "canary-in-a-body canary-at-planted";

const callback = (
  wrong: string,
  code: VaultErrorCode,
  query: (query: URLSearchParams) => void,
  spec?: Partial<OAuth2Spec>,
): NegativeModule => ({
  at: "callback",
  wrong,
  code,
  tokenRequests: 0,
  query,
  ...(spec === undefined ? {} : { spec }),
});
const set =
  (name: string, value: string) =>
  (query: URLSearchParams): void =>
    query.set(name, value);
const append =
  (name: string, value: string) =>
  (query: URLSearchParams): void =>
    query.append(name, value);
const remove =
  (name: string) =>
  (query: URLSearchParams): void =>
    query.delete(name);
const named = { issuer: ISSUER };
const withIss =
  (change: (query: URLSearchParams) => void) =>
  (query: URLSearchParams): void => {
    query.set("iss", ISSUER);
    change(query);
  };

const CALLBACK: readonly NegativeModule[] = [
  callback("no state", "oauth_state_invalid", remove("state")),
  callback("an empty state", "oauth_state_invalid", set("state", "")),
  callback("a state that was never made", "oauth_state_invalid", set("state", "canary-state-unknown")),
  callback("the state in upper case", "oauth_state_invalid", (query) =>
    query.set("state", (query.get("state") ?? "").toUpperCase()),
  ),
  callback("the state with something after it", "oauth_state_invalid", (query) =>
    query.set("state", `${query.get("state")} `),
  ),
  callback("two states", "oauth_state_invalid", append("state", "canary-second")),
  callback("the same state twice", "oauth_state_invalid", (query) => query.append("state", query.get("state") ?? "")),
  callback("two codes", "oauth_state_invalid", append("code", "canary-second")),
  callback("the same code twice", "oauth_state_invalid", (query) => query.append("code", query.get("code") ?? "")),
  callback("two issuers", "oauth_state_invalid", withIss(append("iss", ISSUER)), named),
  callback("two errors", "oauth_state_invalid", (query) => {
    for (const error of ["access_denied", "access_denied"]) query.append("error", error);
  }),
  callback("an unknown parameter twice", "oauth_state_invalid", (query) => {
    for (const value of ["1", "2"]) query.append("session_state", value);
  }),
  callback("no code", "oauth_provider_error", remove("code")),
  callback("an empty code", "oauth_provider_error", set("code", "")),
  callback("a code of 9 KB", "oauth_provider_error", set("code", `canary${"c".repeat(9000)}`)),
  callback("tokens instead of a code", "oauth_provider_error", (query) => {
    query.delete("code");
    query.set("access_token", SECRETS.access_token);
  }),
  callback("no issuer, which it promised", "oauth_issuer_mismatch", () => {}, named),
  callback("an empty issuer", "oauth_issuer_mismatch", set("iss", ""), named),
  callback("another's issuer", "oauth_issuer_mismatch", set("iss", "https://evil.example.com"), named),
  callback("its issuer with a slash", "oauth_issuer_mismatch", set("iss", `${ISSUER}/`), named),
  callback("its issuer in upper case", "oauth_issuer_mismatch", set("iss", ISSUER.toUpperCase()), named),
  callback("its issuer by http", "oauth_issuer_mismatch", set("iss", "http://provider.example.com"), named),
  callback("its issuer with a port", "oauth_issuer_mismatch", set("iss", `${ISSUER}:444`), named),
  callback("a refusal without the issuer", "oauth_issuer_mismatch", set("error", "access_denied"), named),
  callback("another's issuer, having promised none", "oauth_issuer_mismatch", set("iss", "https://evil.example.com")),
  callback("an issuer that is no URL, having promised none", "oauth_issuer_mismatch", set("iss", "canary")),
  callback("a refusal by the person", "oauth_denied", set("error", "access_denied")),
  callback("a refusal by the person, with its issuer", "oauth_denied", withIss(set("error", "access_denied")), named),
  callback("a refusal with a code beside it", "oauth_denied", append("error", "access_denied")),
  callback("server_error", "oauth_provider_error", set("error", "server_error")),
  callback("invalid_scope", "oauth_provider_error", set("error", "invalid_scope")),
  callback("an error code with a token in it", "oauth_provider_error", set("error", SECRETS.access_token)),
  callback("an error code of markup", "oauth_provider_error", set("error", "<script>canary</script>")),
  callback("an empty error code", "oauth_provider_error", set("error", "")),
  callback("an error that describes a token", "oauth_denied", (query) => {
    query.set("error", "access_denied");
    query.set("error_description", `canary ${SECRETS.refresh_token}`);
  }),
];

type Answer = (response: ServerResponse) => void;
const text =
  (status: number, body: string | Buffer, headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
/** Sends a part of what was promised, then nothing, or an end. */
const partial =
  (body: string, end: (response: ServerResponse) => void): Answer =>
  (response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "5000" });
    response.write(body, () => end(response));
  };
const drip: Answer = (response) => {
  response.writeHead(200, { "content-type": "application/json" });
  const timer = setInterval(() => response.write(" "), 20);
  response.on("close", () => clearInterval(timer));
};
const raw =
  (bytes: string): Answer =>
  (response) =>
    void response.socket?.end(bytes);
const GOOD_TEXT = JSON.stringify(GOOD);
const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024), { level: 9 });

/** Answers that say nothing: whether tokens were made is not known. */
const NO_ANSWER: readonly (readonly [string, Answer])[] = [
  ["plain text with 200", text(200, CANARY_TEXT, { "content-type": "text/plain" })],
  ["a page with 200", text(200, `<html>${CANARY_TEXT}</html>`, { "content-type": "text/html" })],
  [
    "tokens as a form",
    text(200, new URLSearchParams(SECRETS).toString(), { "content-type": "application/x-www-form-urlencoded" }),
  ],
  ["204", text(204, "")],
  ["200 without a body", text(200, "")],
  ["JSON cut short", text(200, GOOD_TEXT.slice(0, -5))],
  ["JSON with something after it", text(200, `${GOOD_TEXT}{}`)],
  ["a JSON array", json(200, [GOOD])],
  ["a JSON text", json(200, CANARY_TEXT)],
  ["null", json(200, null)],
  ["JSON a hundred thousand deep", text(200, "[".repeat(100_000))],
  ["a member twice", text(200, GOOD_TEXT.replace("{", '{"access_token":"canary-at-other",'))],
  ["a member twice, once escaped", text(200, GOOD_TEXT.replace("{", '{"access\\u005ftoken":"canary-at-other",'))],
  [
    "a byte that is not UTF-8",
    text(200, Buffer.concat([Buffer.from('{"x":"\xff","', "latin1"), Buffer.from(GOOD_TEXT.slice(2))])),
  ],
  ["no token type", json(200, { ...GOOD, token_type: undefined })],
  ["a token type that is a number", json(200, { ...GOOD, token_type: 7 })],
  ["a token type of another kind", json(200, { ...GOOD, token_type: "mac" })],
  ["no access token", json(200, { ...GOOD, access_token: undefined })],
  ["an empty access token", json(200, { ...GOOD, access_token: "" })],
  ["an access token that is a number", json(200, { ...GOOD, access_token: 7 })],
  ["a refresh token that is null", json(200, { ...GOOD, refresh_token: null })],
  ["a refresh token that is an object", json(200, { ...GOOD, refresh_token: { canary: 1 } })],
  ["an error that is an object, with 200", json(200, { error: { message: CANARY_TEXT } })],
  ["a broken connection", reset],
  ["a connection that breaks in the body", partial(GOOD_TEXT.slice(0, 20), reset)],
  ["a body shorter than promised", partial(GOOD_TEXT, (response) => response.socket?.end())],
  ["what is no HTTP", raw(`${CANARY_TEXT}\r\n\r\n`)],
  ["a header of 64 KB", text(200, GOOD_TEXT, { "x-canary": "a".repeat(64 * 1024) })],
  ["a body that is not compressed as it says", text(200, GOOD_TEXT, { "content-encoding": "gzip" })],
];

/** The same, and it takes a deadline to end them. */
const ENDLESS: typeof NO_ANSWER = [
  ["a body that drips", drip],
  ["headers and no body", partial("", () => {})],
  ["nothing at all", () => {}],
];

/** Answers that say something else than yes. */
const REFUSALS: readonly (readonly [
  string,
  Answer,
  { readonly exchange: VaultErrorCode; readonly renewal: VaultErrorCode },
])[] = (() => {
  const away = { exchange: "provider_unavailable", renewal: "provider_unavailable" } as const;
  const client = { exchange: "oauth_client_invalid", renewal: "oauth_client_invalid" } as const;
  const grant = { exchange: "oauth_exchange_rejected", renewal: "reauth_required" } as const;
  const other = { exchange: "oauth_exchange_rejected", renewal: "provider_unavailable" } as const;
  const large = { exchange: "response_too_large", renewal: "response_too_large" } as const;
  const echo = (error: unknown) => ({ error, error_description: CANARY_TEXT, ...SECRETS });
  const basic = { "www-authenticate": 'Basic realm="canary-realm"' };
  return [
    ["500 with a page", text(500, `<html>${CANARY_TEXT}</html>`, { "content-type": "text/html" }), away],
    ["502 that says invalid_grant", json(502, echo("invalid_grant")), away],
    ["503", json(503, echo("temporarily_unavailable")), away],
    ["503 that says invalid_client", json(503, echo("invalid_client")), away],
    ["504 without a body", text(504, ""), away],
    ["429", json(429, echo("slow_down"), { "retry-after": "1" }), away],
    ["429 with a page", text(429, CANARY_TEXT, { "content-type": "text/html" }), away],
    ["400 temporarily_unavailable", json(400, echo("temporarily_unavailable")), away],
    ["an access token with a line break", json(200, { ...GOOD, access_token: "canary-at\r\nx" }), away],
    ["an access token outside ASCII", json(200, { ...GOOD, access_token: "canary-at-ż" }), away],
    ["a refresh token with a line break", json(200, { ...GOOD, refresh_token: "canary-rt\nx" }), away],
    ["an access token of 17 KB", json(200, { ...GOOD, access_token: `canary${"a".repeat(17 * 1024)}` }), away],
    ["a proof-of-possession token", json(200, { ...GOOD, token_type: "DPoP" }), away],
    ["a body of 1 MB", text(200, JSON.stringify({ ...GOOD, x: "canary".repeat(170_000) })), large],
    ["a body that unpacks to 50 MB", text(200, bomb, { "content-encoding": "gzip" }), large],
    ["invalid_grant", json(400, echo("invalid_grant")), grant],
    ["invalid_grant with 200", json(200, { error: "invalid_grant", error_description: CANARY_TEXT }), grant],
    ["invalid_grant with 401", json(401, echo("invalid_grant"), basic), grant],
    ["invalid_grant by Todoist's name", json(400, echo("bad_authorization_code")), grant],
    ["invalid_client", json(400, echo("invalid_client")), client],
    ["invalid_client with 401", json(401, echo("invalid_client"), basic), client],
    ["invalid_client by Todoist's name", json(400, echo("incorrect_application_credentials")), client],
    ["unauthorized_client", json(400, echo("unauthorized_client")), client],
    ["401 without a body", text(401, "", basic), client],
    ["401 with a page", text(401, CANARY_TEXT, { "content-type": "text/html" }), client],
    ["400 without a body", text(400, ""), other],
    ["400 with a page", text(400, `<html>${CANARY_TEXT}</html>`, { "content-type": "text/html" }), other],
    ["403", json(403, echo("access_denied")), other],
    ["404", text(404, CANARY_TEXT), other],
    ["a wrong redirect address", json(400, echo("redirect_uri_mismatch")), other],
    ["invalid_request", json(400, echo("invalid_request")), other],
    ["invalid_scope", json(400, echo("invalid_scope")), other],
    ["unsupported_grant_type", json(400, echo("unsupported_grant_type")), other],
    ["an error code with a token in it", json(400, echo(SECRETS.access_token)), other],
    ["an error code that is an object", json(400, echo({ canary: 1 })), other],
    ["a redirect with 302", json(302, {}, { location: "https://evil.example.com/?canary" }), other],
    ["a redirect with 307 to itself", json(307, {}, { location: "/oauth/token" }), other],
  ];
})();

/**
 * Everything that is known to go wrong. Of a renewal, an answer that says nothing is asked for once more, because the
 * provider may have rotated the token; every other answer counts as it is.
 */
export const NEGATIVE_MODULES: readonly NegativeModule[] = [
  ...CALLBACK,
  ...[...NO_ANSWER, ...ENDLESS].flatMap((one): NegativeModule[] => {
    const [wrong, answer] = one;
    const shared = { wrong, answer, code: "provider_unavailable", endless: ENDLESS.includes(one) } as const;
    return [
      { ...shared, at: "exchange", tokenRequests: 1 },
      { ...shared, at: "renewal", tokenRequests: 2 },
    ];
  }),
  ...REFUSALS.flatMap(([wrong, answer, code]): NegativeModule[] => [
    { at: "exchange", wrong, answer, code: code.exchange, tokenRequests: 1 },
    { at: "renewal", wrong, answer, code: code.renewal, tokenRequests: 1 },
  ]),
];

/** One thing that a provider does otherwise than the RFCs say, or than was asked, and that loses nobody anything. */
export interface ToleratedQuirk {
  readonly quirk: string;
  readonly answer: (response: ServerResponse) => void;
  /** Seconds; when unknown, it is renewed when a request is refused. */
  readonly life: number | "unknown";
  readonly scopes: readonly string[];
}

/** As the harness asks for them. */
const ASKED = ["data:read", "task:add"];
const tolerated = (
  quirk: string,
  change: Record<string, unknown>,
  life: number | "unknown" = 3600,
  scopes: readonly string[] = ASKED,
): ToleratedQuirk => ({ quirk, answer: json(200, { ...GOOD, ...change }), life, scopes });
const sent = (quirk: string, answer: Answer): ToleratedQuirk => ({ quirk, answer, life: 3600, scopes: ASKED });

export const TOLERATED_QUIRKS: readonly ToleratedQuirk[] = [
  sent("tokens as a page", text(200, GOOD_TEXT, { "content-type": "text/html" })),
  sent("tokens as text", text(200, GOOD_TEXT, { "content-type": "text/plain" })),
  sent("tokens without a content type", (response) => void response.writeHead(200).end(GOOD_TEXT)),
  sent("a byte order mark", text(200, `\ufeff${GOOD_TEXT}`)),
  sent("a compressed body", text(200, gzipSync(GOOD_TEXT), { "content-encoding": "gzip" })),
  tolerated("a token type in capitals", { token_type: "BEARER" }),
  tolerated("a life as text", { expires_in: "3600" }),
  tolerated("a life with a fraction", { expires_in: 3600.9 }),
  tolerated("no life", { expires_in: undefined }, "unknown"),
  tolerated("a life of null", { expires_in: null }, "unknown"),
  tolerated("a life of nothing", { expires_in: 0 }, "unknown"),
  tolerated("a negative life", { expires_in: -3600 }, "unknown"),
  tolerated("an absurd life", { expires_in: 1e15 }, "unknown"),
  tolerated("a life in words", { expires_in: "soon" }, "unknown"),
  tolerated("an ID token that is none", { id_token: "canary.garbage.token" }),
  tolerated("an ID token that is a number", { id_token: 7 }),
  tolerated("members that nobody knows", { canary: { a: [1] }, error_description: null }),
  tolerated("fewer scopes", { scope: "data:read" }, 3600, ["data:read"]),
  tolerated("more scopes", { scope: "data:read task:add data:delete" }, 3600, [...ASKED, "data:delete"]),
  tolerated("other scopes", { scope: "data:delete" }, 3600, ["data:delete"]),
  tolerated("no scope at all", { scope: "" }, 3600, []),
  tolerated("scopes with commas", { scope: "data:read,task:add" }),
  tolerated("scopes as a list", { scope: ASKED }),
  tolerated("scopes that are a number", { scope: 7 }),
];
