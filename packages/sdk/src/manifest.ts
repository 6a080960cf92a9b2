import type { EventTypes, Json, Schema } from "./connector.ts";

/** A text in every language that the pages speak. */
export interface Words {
  readonly en: string;
  readonly pl: string;
}

/** A permission, as people are shown it. */
export interface Scope {
  /** The provider's id, sent to it as it stands. */
  readonly id: string;
  /** The connection is `limited` without an optional one, and cannot be made without a required one. */
  readonly required: boolean;
  /** What it lets us do: "Read your tasks and projects". */
  readonly label: Words;
  /** Why we ask: "so that …". */
  readonly why: Words;
}

/** Facts about a provider that the runtime obeys, so that connector code need not. */
export interface Manifest {
  readonly name: string;
  readonly description: Words;
  readonly category:
    | "tasks"
    | "calendar"
    | "health"
    | "workforce"
    | "telemetry"
    | "payments"
    | "commerce"
    | "people"
    | "code"
    | "ledger"
    | "other";
  /** Whose account is linked. */
  readonly owner: "user" | "organization";
  /** Exact host names (with a port when it is not 443) that `user.fetch` may reach. Secrets are attached for these alone. */
  readonly hosts: readonly string[];
  /** Newest first. A connection keeps the version it was made with until somebody changes it. */
  readonly apiVersions: readonly [ApiVersion, ...ApiVersion[]];
  /** Milliseconds between runs when nothing pushes. Absent: push only. */
  readonly pollIntervalMs?: number;
  /** A connection that was not read for so long is `stale`, ms. Default: 24 h. */
  readonly staleAfterMs?: number;
  /** Enforced before each request, per connection or for everybody who shares the OAuth client. */
  readonly rateLimit?: { readonly requests: number; readonly perMs: number; readonly scope: "connection" | "client" };
  /** How far back a first run reads, days. Absent: everything the provider has. */
  readonly backfillDays?: number;
  readonly events: EventTypes;
  readonly actions?: Readonly<Record<string, ActionSpec>>;
  /** Where a person withdraws consent at the provider by hand. */
  readonly revocationUrl: string;
  readonly docsUrl: string;
}

export interface ApiVersion {
  readonly id: string;
  readonly label: string;
  readonly status: "stable" | "deprecated" | "experimental";
  /** What goes on the wire where it differs from the id. */
  readonly wireVersion?: string;
  readonly default?: boolean;
  readonly changelog?: string;
  /** ISO dates. */
  readonly deprecatedAt?: string;
  readonly sunsetAt?: string;
  readonly migrationGuide?: string;
}

export interface ActionSpec {
  readonly label: Words;
  readonly input: Schema<Json>;
  /** Scope ids without which the action is refused before a request is sent. */
  readonly scopes?: readonly string[];
}
