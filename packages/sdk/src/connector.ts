/**
 * The connector contract. Read this file first; everything else in the SDK helps to satisfy it.
 *
 * Terminology
 * - provider:   the third-party product (Todoist).
 * - connector:  stateless code that speaks to one provider: this interface.
 * - connection: one owner's link to one provider account; has one state, one lease, one credential.
 * - cursor:     where to resume in the provider's history; its shape is the connector's own.
 * - checkpoint: the promise that everything yielded so far is complete up to a cursor.
 * - run:        one drive of fetchSignals to its end.
 */
import type { DescMessage } from "@bufbuild/protobuf";
import type { Auth, Challenge } from "./auth.ts";
import type { Manifest, Scope } from "./manifest.ts";
import type { Checkpoint, Signal } from "./signal.ts";
import type { Webhook } from "./webhook.ts";

/**
 * A plain object without state. `C` is the cursor's type: any JSON value of at most 4 KiB.
 * Standard behaviour is spread in (`...oauth2({…})`) and overridden by a member written after the spread.
 */
export interface Connector<C extends Json = Json> {
  /** Stable, lower-case, hyphenated: "google-calendar". Part of the NATS subject; never used again for another provider. */
  readonly id: string;
  /** What the provider is asked for, least first, in words that people are shown. Empty when it has no scopes. */
  readonly scopes: readonly Scope[];
  /** How credentials are obtained, renewed and attached. Data: the vault executes it. */
  readonly auth: Auth;
  readonly manifest: Manifest;

  /**
   * Starts consent: where to send the user, or which fields to ask for. Secrets that a form asks for go from the
   * browser to the vault, never through here.
   */
  beginOAuth(user: User): Promise<Challenge>;

  /**
   * Ends consent. `state` is already verified, single-use and at most 10 minutes old; `code` is the authorization
   * code or, for forms and keys, the vault's one-time receipt.
   * @returns the account at the provider that was linked.
   * @throws ReauthRequired when the provider refuses the code or the submitted credentials.
   */
  finishOAuth(code: string, state: FlowState): Promise<Account>;

  /**
   * Yields what changed after `since`, oldest first, in bounded memory; no `since` means backfill from
   * `user.backfillFrom`. A completed run has yielded at least one checkpoint, last. What is yielded may repeat what
   * was yielded before a crash; nothing may be skipped before a checkpoint. Signals are committed 500 at a time
   * even where no checkpoint comes: give a `revision`, or a checkpoint at least that often, where one object can be
   * yielded in two states, so that yielding both again after a crash is recognised.
   * @throws CursorExpired when the provider no longer accepts `since`: the runtime drops it and backfills.
   * @throws Retryable | ReauthRequired | Rejected | ContractViolation; `user.json` throws these for you.
   */
  fetchSignals(user: User, since?: C): AsyncIterable<Signal | Checkpoint<C>>;

  /**
   * Writes back. `action.input` has passed the schema in `manifest.actions`. May be called again with the same
   * `idempotencyKey`: give it to the provider where it has a place for it.
   * @throws Rejected when repeating cannot help; the message is shown to the caller.
   */
  act?(user: User, action: Action): Promise<ActionResult>;

  /**
   * Withdraws consent at the provider. Idempotent. The runtime deletes the secrets and the cursor afterwards whether or
   * not this succeeds.
   */
  revoke(user: User): Promise<void>;

  /** The cheapest call that proves the credential works; throws like fetchSignals. Default: the last run's outcome. */
  check?(user: User): Promise<void>;

  /** Push. Absent: poll only. */
  readonly webhook?: Webhook;
}

/** The user as a capability: everything a connector may do, bound to one connection. It never shows a token. */
export interface User {
  /** Id of the owner: a person or an organisation. */
  readonly id: string;
  readonly organizationId: string;
  readonly connectionId: string;
  /** Absent until finishOAuth has returned it. */
  readonly account: Account | undefined;
  /** Id of one of `manifest.apiVersions`. */
  readonly apiVersion: string;
  readonly backfillFrom: Date;
  /** Aborts on shutdown, on disconnect, and when the run exceeds its time. */
  readonly signal: AbortSignal;
  /** The only clock a connector reads; tests move it. */
  now(): Date;
  /** Kept with the run. Field values that hold a secret or more than 200 characters are cut. */
  log(message: string, fields?: Readonly<Record<string, Json>>): void;

  /**
   * `fetch` with the credential attached, renewed once on 401, rate-limited, traced, confined to `manifest.hosts`;
   * 30 s a request, 16 MiB a response. Retries nothing: the run is the unit of retry.
   * @throws Retryable when there is no answer · ContractViolation for a host that the manifest does not list ·
   * ReauthRequired when the credential cannot be renewed.
   */
  fetch(url: string, init?: RequestOptions): Promise<Response>;
  /**
   * `fetch`, status → error, body → schema. 401 after a renewal → ReauthRequired · 410 → CursorExpired · 429, and any
   * status with Retry-After → RateLimited · 5xx → Retryable · other 4xx → Rejected · a body that the schema refuses →
   * ContractViolation.
   */
  json<T>(schema: Schema<T>, url: string, init?: RequestOptions): Promise<T>;

  /** Runs the flow that `auth` declares. */
  begin(parameters?: Readonly<Record<string, string>>): Promise<Challenge>;
  /** Runs the revocation that `auth` declares; resolves at once when it declares none. */
  forget(): Promise<void>;
}

/** What a connector may say about a request. `form` and `json` set the content type. */
export interface RequestOptions {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
  readonly json?: Json;
}

/** A verified flow, able to redeem its code exactly once. */
export interface FlowState {
  /** Exchanges the code, seals what comes back, and returns the user with a working `fetch`. */
  redeem(code: string): Promise<User>;
}

/** The provider's name for this user; routes webhooks and labels the connection. */
export interface Account {
  /** Stable at the provider; 1 to 200 characters. */
  readonly id: string;
  /** What the person recognises: an address, a name. Personal data. */
  readonly label: string;
}

export interface Action {
  /** Key of `manifest.actions`. */
  readonly type: string;
  readonly input: Json;
  /** UUID; the same for every attempt at one action. */
  readonly idempotencyKey: string;
}
export interface ActionResult {
  /** The provider's id of what was acted on. */
  readonly id?: string;
}

/** Anything with zod's `parse`. */
export interface Schema<T> {
  parse(value: unknown): T;
}
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };

/** Event types that a connector emits. */
export type EventTypes = readonly DescMessage[];
