import { z } from "zod";
import { type Api, asker, json } from "./api.ts";

export const permissions = ["integrations.view", "integrations.manage", "integrations.credentials"] as const;
const held = z.array(z.enum(permissions));

const organizationSchema = z.object({ id: z.string(), name: z.string(), permissions: held, current: z.boolean() });
const memberSchema = z.object({
  userId: z.string(),
  name: z.string(),
  email: z.string(),
  permissions: held,
  since: z.string(),
});
const invitationSchema = z.object({ id: z.string(), email: z.string(), permissions: held, expiresAt: z.string() });
const madeSchema = invitationSchema.extend({ link: z.url({ protocol: /^https?$/ }), mailed: z.boolean() });
const receivedSchema = z.object({ id: z.string(), name: z.string(), permissions: held, expiresAt: z.string() });

const noticeSchema = z.object({
  id: z.string(),
  at: z.string(),
  code: z.string(),
  place: z.string(),
  rowKey: z.string(),
});

export type Notice = z.infer<typeof noticeSchema>;
export type Organization = z.infer<typeof organizationSchema>;
export type Member = z.infer<typeof memberSchema>;
export type Invitation = z.infer<typeof invitationSchema>;
export type MadeInvitation = z.infer<typeof madeSchema>;
export type ReceivedInvitation = z.infer<typeof receivedSchema>;

/** What the pages of organisations and people ask. Each @throws ApiRefusal. */
export function peopleApi(api: Api, request: Request) {
  const ask = asker(api, request);
  const list = <T>(schema: z.ZodType<T>) => z.object({ items: z.array(schema) });
  const member = (id: string): string => `/api/members/${encodeURIComponent(id)}`;
  const received = (token: string): string => `/api/received-invitations/${encodeURIComponent(token)}`;
  return {
    organizations: async () => (await ask(list(organizationSchema), "/api/organizations")).items,
    createOrganization: (name: string) => ask(organizationSchema, "/api/organizations", json("POST", { name })),
    members: async () => (await ask(list(memberSchema), "/api/members")).items,
    setPermissions: (id: string, wanted: readonly string[]) =>
      ask(memberSchema, member(id), json("PATCH", { permissions: wanted })),
    removeMember: (id: string) => ask(z.undefined(), member(id), { method: "DELETE" }),
    invitations: async () => (await ask(list(invitationSchema), "/api/invitations")).items,
    invite: (email: string, wanted: readonly string[]) =>
      ask(madeSchema, "/api/invitations", json("POST", { email, permissions: wanted })),
    revoke: (id: string) => ask(z.undefined(), `/api/invitations/${encodeURIComponent(id)}`, { method: "DELETE" }),
    notices: async () => (await ask(list(noticeSchema), "/api/notices")).items,
    received: (token: string) => ask(receivedSchema, received(token)),
    accept: (token: string) => ask(organizationSchema, `${received(token)}/accept`, json("POST", {})),
  };
}
