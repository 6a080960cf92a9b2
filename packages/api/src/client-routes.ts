import { addressNames, listClients, putClient, removeClient } from "@tributary/integrations";
import { type Context, Hono } from "hono";
import { z } from "zod";
import { actorIdOf, type ApiEnv, type ApiOptions } from "./options.ts";
import { readJson } from "./read-json.ts";

/** RFC 6749 §A.1 and §A.2: printable ASCII. What is pasted often brings a blank along. */
const text = z
  .string()
  .trim()
  .max(512)
  .regex(/^[\x20-\x7e]*$/);
const Put = z.strictObject({
  clientId: text,
  clientSecret: text,
  values: z.record(z.string(), z.unknown()).optional(),
  contextId: z.string().optional(),
});

/** The OAuth clients that an organisation brings for an integration. A secret goes in, and never comes out. */
export function clientRoutes({ runtime, origin }: ApiOptions): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();

  routes.get("/:integration/clients", async (c) => {
    const clients = await listClients(runtime, ...placeOf(c));
    return c.json({
      items: clients.map((client) => clientJson(client, origin)),
      placeholders: addressNames(runtime.registry.get(c.req.param("integration")).auth),
    });
  });
  routes.post("/:integration/clients", async (c) => {
    const { contextId, values, ...entered } = await readJson(c, Put);
    const [organizationId, integration] = placeOf(c);
    const client = await putClient(runtime, {
      organizationId,
      integration,
      actor: actorIdOf(c),
      ...entered,
      ...(contextId === undefined ? {} : { contextId }),
      ...(values === undefined ? {} : { values }),
    });
    return c.json(clientJson(client, origin), contextId === undefined ? 201 : 200);
  });
  routes.delete("/:integration/clients/:contextId", async (c) => {
    const [organizationId, integration] = placeOf(c);
    const contextId = c.req.param("contextId");
    await removeClient(runtime, { organizationId, integration, contextId, actor: actorIdOf(c) });
    return c.body(null, 204);
  });
  return routes;
}

const placeOf = (c: Context<ApiEnv>): readonly [organizationId: string, integration: string] => [
  c.get("identity").organizationId,
  c.req.param("integration") ?? "",
];

type Client = Awaited<ReturnType<typeof listClients>>[number];
const clientJson = ({ contextId, integration, clientId, tokenHost, redirectUri }: Client, origin: string) => ({
  contextId,
  integration,
  clientId,
  tokenHost,
  redirectUri,
  webhookUrl: `${origin}/webhooks/${integration}/${encodeURIComponent(contextId)}`,
});
