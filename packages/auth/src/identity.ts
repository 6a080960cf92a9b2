/** Who is asking. A browser session, a token and a service's key end in the same thing. */
export type Identity = UserIdentity | ServiceIdentity;

interface Anyone {
  readonly organizationId: string;
  readonly organizationName: string;
  /** What to call them. Personal data when it is a person's. */
  readonly name: string;
  readonly permissions: readonly Permission[];
  /** Until when the proof holds; milliseconds since the epoch. Absent when it has no end. A stream ends with it. */
  readonly expiresAtMs?: number;
}

/** A person, by the session of a browser or by a token. */
export interface UserIdentity extends Anyone {
  readonly kind: "user";
  /** Our id of the user; with a token, its subject. */
  readonly userId: string;
  /** Empty when the token does not tell. Personal data. */
  readonly email: string;
  /** SHA-256 of the session token, hex. Absent with a token: what belongs to a browser cannot be begun without one. */
  readonly sessionHash?: string;
}

/** A program that works for one organisation, by its key. */
export interface ServiceIdentity extends Anyone {
  readonly kind: "service";
}

export const PERMISSIONS = ["integrations.view", "integrations.manage", "integrations.credentials"] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** Tells who sent a request. Two implementations: browser sessions, and what an `Authorization` header carries. */
export interface Authenticator<Known extends Identity = Identity> {
  /**
   * @returns undefined when the request carries no proof of this kind.
   * @throws Refused when it carries one that proves nothing.
   */
  authenticate(request: Request): Promise<Known | undefined>;
}
