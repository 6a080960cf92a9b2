/** What the guard answers with; the whole body is `{"error":"<code>"}`. */
const STATUS = {
  missing_authorization: 401,
  invalid_token: 401,
  insufficient_permissions: 403,
  org_scope_violation: 403,
  payload_too_large: 413,
  auth_unavailable: 503,
} as const;
export type RefusalCode = keyof typeof STATUS;

/** The guard said no. The reason is for the log: whoever asked learns the code alone. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly code: RefusalCode;
  readonly reason: string;
  /** Subject of a token whose signature held, or `service_role`; undefined when nobody is known. */
  readonly caller: string | undefined;
  constructor(code: RefusalCode, reason: string, caller?: string) {
    super(code);
    this.code = code;
    this.reason = reason;
    this.caller = caller;
  }
}

/** Seconds after which to try again when keys could not be read: as long as they are not asked for again. */
const RETRY_AFTER_S = 30;

/** The answer, byte for byte the same for whatever was wrong with a token. */
export function refusalResponse(code: RefusalCode, requestId: string): Response {
  const headers = new Headers({ "cache-control": "no-store", "x-request-id": requestId });
  // RFC 6750 §3 and §3.1: no error code when nothing was sent.
  if (code === "missing_authorization") headers.set("www-authenticate", "Bearer");
  if (code === "invalid_token") headers.set("www-authenticate", 'Bearer error="invalid_token"');
  if (code === "auth_unavailable") headers.set("retry-after", String(RETRY_AFTER_S));
  return Response.json({ error: code }, { status: STATUS[code], headers });
}
