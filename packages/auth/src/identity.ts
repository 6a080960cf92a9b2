/** Who is asking. A browser session and, later, a token end in the same thing. */
export interface Identity {
  readonly userId: string;
  /** What to call the person. Personal data. */
  readonly name: string;
  readonly email: string;
  readonly organizationId: string;
  readonly organizationName: string;
  /** SHA-256 of the session token, hex. */
  readonly sessionHash: string;
  readonly permissions: readonly Permission[];
}

export type Permission = "integrations.view" | "integrations.manage" | "integrations.credentials";

/** Tells who sent a request. Two implementations: browser sessions here, tokens for services later. */
export interface Authenticator {
  /** @returns undefined when the request carries no valid proof. */
  authenticate(request: Request): Promise<Identity | undefined>;
}
