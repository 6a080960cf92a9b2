import type { Permission, UserIdentity } from "./identity.ts";
import { acceptSignedIn, invite, listInvitations, readInvitation, revokeInvitation } from "./invitations.ts";
import { listMembers, removeMember, setPermissions } from "./members.ts";
import { createOrganization, listOrganizations } from "./organizations.ts";
import type {
  Actor,
  InvitationView,
  MemberView,
  OrganizationView,
  PeopleOptions,
  ReceivedInvitation,
} from "./people-options.ts";

/** Organisations and who belongs to them. Every refusal is a PeopleError. */
export interface People {
  organizations(userId: string): Promise<readonly OrganizationView[]>;
  /** The creator gets every permission in it. */
  createOrganization(userId: string, name: string): Promise<OrganizationView>;
  members(organizationId: string): Promise<readonly MemberView[]>;
  /** Nobody gives or takes a permission that they do not have, and somebody always manages. */
  setPermissions(actor: Actor, userId: string, permissions: readonly Permission[]): Promise<MemberView>;
  /** Ends the membership and its sessions. Somebody always manages. */
  removeMember(actor: Actor, userId: string): Promise<void>;
  invitations(organizationId: string): Promise<readonly InvitationView[]>;
  /** An earlier invitation of the same address ends. @returns the link, which cannot be shown again, and whether it was sent. */
  invite(
    actor: Actor,
    invited: { readonly email: string; readonly permissions: readonly Permission[] },
  ): Promise<{ readonly invitation: InvitationView; readonly link: string; readonly mailed: boolean }>;
  revokeInvitation(actor: Actor, id: string): Promise<void>;
  /** What a link leads to, for whoever has it. */
  readInvitation(token: string): Promise<ReceivedInvitation>;
  /** Joins. The invitation's address must be the one that the identity provider has verified. */
  acceptInvitation(person: UserIdentity, token: string): Promise<OrganizationView>;
}

export function createPeople(options: PeopleOptions): People {
  const { database } = options;
  return {
    organizations: (userId) => listOrganizations(database, userId),
    createOrganization: (userId, name) => createOrganization(options, userId, name),
    members: (organizationId) => listMembers(database, organizationId),
    setPermissions: (actor, userId, permissions) => setPermissions(options, actor, userId, permissions),
    removeMember: (actor, userId) => removeMember(options, actor, userId),
    invitations: (organizationId) => listInvitations(options, organizationId),
    invite: (actor, invited) => invite(options, actor, invited),
    revokeInvitation: (actor, id) => revokeInvitation(options, actor, id),
    readInvitation: (token) => readInvitation(options, token),
    acceptInvitation: (person, token) => acceptSignedIn(options, person, token),
  };
}
