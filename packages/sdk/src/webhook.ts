import type { Json, User } from "./connector.ts";
import type { Signal } from "./signal.ts";

/** Push, as data. The runtime verifies the raw body before any connector code runs. */
export interface Webhook {
  readonly verify: Verification;
  /** Header that names a delivery and stays the same when it is sent again; the runtime drops repeats. Absent: the body's hash does. */
  readonly deliveryIdHeader?: string;
  /** `Account.id`s that this delivery concerns. Absent: the URL already names the connection. */
  accounts?(delivery: Delivery): readonly string[];
  /**
   * Signals that the delivery itself carries, appended without moving the cursor. Absent: a delivery wakes
   * fetchSignals, which keeps one order and one cursor; prefer that.
   */
  receive?(user: User, delivery: Delivery): AsyncIterable<Signal>;
  /** For providers that need a subscription per user; called again before `expiresAt`. */
  subscribe?(user: User, callbackUrl: string): Promise<{ readonly id: string; readonly expiresAt?: Date }>;
}

/** Whose key signs: the OAuth client's secret, or one minted for the connection. */
export type SigningKey = "client_secret" | "signing_key";

export type Verification =
  /** HMAC-SHA256 of the raw body in one header. */
  | {
      readonly scheme: "hmac-sha256";
      readonly header: string;
      readonly encoding: "base64" | "hex";
      readonly prefix?: string;
      readonly key: SigningKey;
    }
  /** Signed with a timestamp, as Stripe and Standard Webhooks do; older than `toleranceMs` (default 300,000) is refused. */
  | {
      readonly scheme: "timestamped-hmac-sha256";
      readonly dialect: "stripe" | "standard-webhooks";
      readonly toleranceMs?: number;
      readonly key: SigningKey;
    }
  /** The provider echoes a token that we chose when subscribing (Google's channels). */
  | { readonly scheme: "echoed-token"; readonly header: string };

/** One inbound webhook request, verified. */
export interface Delivery {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json;
}
