import type { Database, Queryable } from "@tributary/db";
import type { Permission } from "./identity.ts";

export interface PeopleOptions {
  readonly database: Database;
  /** Public origin, of which links are made. */
  readonly origin: string;
  readonly audit: AppendAudit;
  /**
   * Sends an invitation. @returns whether it was sent; it is shown to the inviter either way. Must not log it: the link
   * lets in. Default: nothing is sent.
   */
  readonly mail?: (mail: InvitationMail) => Promise<boolean>;
  readonly now: () => Date;
  readonly uuid: () => string;
}

/** What happened to an organisation's people, as it is kept. Holds ids and codes, no address and no name. */
export interface PeopleAuditEntry {
  readonly organizationId: string;
  readonly action:
    | "organization.created"
    | "member.joined"
    | "member.changed"
    | "member.removed"
    | "invitation.made"
    | "invitation.revoked"
    | "administrator.link_made"
    | "administrator.joined";
  /** Who did it: a user's id, `service:<name>`, or `operator`. */
  readonly actor: string;
  /** The user it was done to. */
  readonly userId?: string;
  readonly detail: string;
}

/** Appends to the audit in the same transaction: what is not recorded does not happen. */
export type AppendAudit = (tx: Queryable, entry: PeopleAuditEntry) => Promise<unknown>;

/** What an invited person is sent. */
export interface InvitationMail {
  readonly to: string;
  readonly organizationName: string;
  readonly invitedBy: string;
  /** Signs in whoever proves the address; works once. */
  readonly link: string;
  readonly expiresAt: Date;
}

/** Who acts: with which permissions, in which organisation, by which name in the audit. */
export interface Actor {
  readonly organizationId: string;
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly Permission[];
}

export interface OrganizationView {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly Permission[];
}

export interface MemberView {
  readonly userId: string;
  readonly name: string;
  readonly email: string;
  readonly permissions: readonly Permission[];
  readonly since: Date;
}

export interface InvitationView {
  readonly id: string;
  readonly email: string;
  readonly permissions: readonly Permission[];
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** An invitation as the invited sees it. */
export interface ReceivedInvitation extends OrganizationView {
  readonly expiresAt: Date;
}
