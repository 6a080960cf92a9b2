import { type Actor, PERMISSIONS, type People } from "@tributary/auth";
import { type Context, Hono } from "hono";
import { z } from "zod";
import { ApiError } from "./errors.ts";
import { actorIdOf, type ApiEnv, type ApiOptions, personOf } from "./options.ts";
import { readJson } from "./read-json.ts";

const permissions = z.array(z.enum(PERMISSIONS)).max(PERMISSIONS.length);
const name = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .regex(/^[^\p{Cc}]+$/u);
const Create = z.strictObject({ name });
const Change = z.strictObject({ permissions });
const Invite = z.strictObject({ email: z.string().trim().max(254).pipe(z.email()), permissions });

/** Organisations, who belongs to them, and how people come in. */
export function peopleRoutes({ people }: ApiOptions): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();

  routes.get("/organizations", async (c) => {
    const { userId, organizationId } = personOf(c);
    const belongs = await people.organizations(userId);
    return c.json({ items: belongs.map((one) => ({ ...one, current: one.id === organizationId })) });
  });
  routes.post("/organizations", async (c) => {
    const made = await readJson(c, Create);
    return c.json({ ...(await people.createOrganization(personOf(c).userId, made.name)), current: false }, 201);
  });

  routes.get("/members", async (c) => {
    const { organizationId } = c.get("identity");
    return c.json({ items: (await people.members(organizationId)).map(memberJson) });
  });
  routes.patch("/members/:userId", async (c) => {
    const change = await readJson(c, Change);
    return c.json(memberJson(await people.setPermissions(actorOf(c), uuid(c, "userId"), change.permissions)));
  });
  routes.delete("/members/:userId", async (c) => {
    await people.removeMember(actorOf(c), uuid(c, "userId"));
    return c.body(null, 204);
  });

  routes.get("/invitations", async (c) => {
    const { organizationId } = c.get("identity");
    return c.json({ items: (await people.invitations(organizationId)).map(invitationJson) });
  });
  routes.post("/invitations", async (c) => {
    const invited = await readJson(c, Invite);
    const { invitation, link, mailed } = await people.invite(actorOf(c), invited);
    return c.json({ ...invitationJson(invitation), link, mailed }, 201);
  });
  routes.delete("/invitations/:id", async (c) => {
    await people.revokeInvitation(actorOf(c), uuid(c, "id"));
    return c.body(null, 204);
  });

  routes.get("/received-invitations/:token", async (c) => {
    const { expiresAt, ...organization } = await people.readInvitation(token(c));
    return c.json({ ...organization, expiresAt: expiresAt.toISOString() });
  });
  routes.post("/received-invitations/:token/accept", async (c) =>
    c.json({ ...(await people.acceptInvitation(personOf(c), token(c))), current: false }),
  );
  return routes;
}

const actorOf = (c: Context<ApiEnv>): Actor => {
  const identity = c.get("identity");
  const { organizationId, permissions: held } = identity;
  return { organizationId, id: actorIdOf(c), name: identity.name, permissions: held };
};

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/** What cannot be an id is the same to a caller as one that is nobody's. */
function uuid(c: Context, parameter: string): string {
  const id = c.req.param(parameter) ?? "";
  if (!UUID.test(id)) throw new ApiError("not_found", "There is nothing here.");
  return id;
}

const token = (c: Context): string => c.req.param("token")?.slice(0, 64) ?? "";

type Member = Awaited<ReturnType<People["members"]>>[number];
const memberJson = ({ since, ...member }: Member) => ({ ...member, since: since.toISOString() });

type Invitation = Awaited<ReturnType<People["invitations"]>>[number];
const invitationJson = ({ createdAt, expiresAt, ...invitation }: Invitation) => ({
  ...invitation,
  createdAt: createdAt.toISOString(),
  expiresAt: expiresAt.toISOString(),
});
