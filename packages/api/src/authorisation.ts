import type { Permission } from "@tributary/auth";

/**
 * Who may ask for a route.
 * - `public`: anybody; the route has a proof of its own.
 * - `member`: anybody who is known. What it shows or changes is the caller's own.
 * - `browser`: the same, by the session of a browser, to which the answer is bound.
 * - a permission: whoever has it in the organisation of the proof; some only by the session of a browser.
 */
export type Access = "public" | "member" | "browser" | Permission | readonly ["browser", Permission];

/** Every route there is. One that is missing here is refused to everybody, and a test names it. */
export const ACCESS: Readonly<Record<string, Access>> = {
  "POST /webhooks/:integration/:contextId": "public",
  "GET /api/me": "member",

  "GET /api/organizations": "browser",
  "POST /api/organizations": ["browser", "integrations.manage"],
  "GET /api/members": "integrations.manage",
  "PATCH /api/members/:userId": "integrations.manage",
  "DELETE /api/members/:userId": "integrations.manage",
  "GET /api/invitations": "integrations.manage",
  "POST /api/invitations": "integrations.manage",
  "DELETE /api/invitations/:id": "integrations.manage",
  "GET /api/received-invitations/:token": "browser",
  "POST /api/received-invitations/:token/accept": "browser",

  "GET /api/integrations": "member",
  "GET /api/integrations/:integration/clients": "integrations.credentials",
  "POST /api/integrations/:integration/clients": "integrations.credentials",
  "DELETE /api/integrations/:integration/clients/:contextId": "integrations.credentials",
  "POST /api/integrations/:integration/oauth/start": "browser",
  "GET /api/integrations/oauth/callback": "browser",
  "GET /api/integrations/oauth/callback/:contextId": "browser",

  "GET /api/connections": "member",
  "GET /api/connections/:id": "member",
  "GET /api/connections/:id/events": "member",
  "POST /api/connections/:id/pause": "member",
  "POST /api/connections/:id/resume": "member",
  "POST /api/connections/:id/sync": "member",
  "POST /api/connections/:id/actions": "member",
  "DELETE /api/connections/:id": "member",
  "GET /api/receipts/:id": "member",

  "GET /api/notices": "integrations.manage",

  "GET /api/events/stream": "member",

  "GET /api/sandbox/triggers": "member",
  "POST /api/sandbox/triggers": "integrations.manage",
};
