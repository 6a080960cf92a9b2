import {
  createOAuthServer,
  type Emulator,
  type OAuthQuirks,
  oauthRoutes,
  type SandboxClient,
} from "@tributary/sandbox";
import { Hono } from "hono";
import { personPage } from "./emulator-page.ts";
import { apiRoutes } from "./emulator-routes.ts";
import { seedWorld } from "./emulator-seed.ts";
import type { ExecutedCommands } from "./emulator-sync.ts";
import { createWebhooks } from "./emulator-webhooks.ts";
import { createWorld, type TodoistWorld } from "./emulator-world.ts";

/** Todoist's OAuth, as far as it is known; the README's ledger says what is not. */
const quirks: OAuthQuirks = {
  provider: "Todoist",
  paths: { authorize: "/oauth/authorize", token: "/oauth/access_token", revoke: "/api/v1/revoke" },
  scopes: {
    "task:add": "Add tasks",
    "data:read": "Read tasks, projects, labels and filters",
    "data:read_write": "Read and change tasks, projects, labels and filters",
    "data:delete": "Delete tasks, labels and filters",
    "project:delete": "Delete projects",
    "backups:read": "List backups",
    "billing:read": "Read billing details",
    "billing:read_write": "Change billing details",
    "dev:app_console": "Look after your apps",
  },
  scopeSeparator: ",",
  tokenContentTypes: ["form", "json"],
  pkce: "allowed",
  clientAuth: ["post", "basic"],
  responseTypeRequired: false,
  redirectUriRepeated: false,
  refresh: "rotate",
  expiresInSeconds: 3600,
  errors: { code: "bad_authorization_code", refresh: "invalid_grant", client: "incorrect_application_credentials" },
  clientErrorStatus: 400,
};

/** The account behind the simulated Todoist. */
export const todoistAccount = { id: "48000001", name: "Sample Person", email: "sample@example.com" } as const;

/** What a demo signs in with when nothing else is said. The redirect URI is the caller's own. */
export const todoistClient = (redirectUri: string): SandboxClient => ({
  clientId: "todoist-sandbox",
  clientSecret: "todoist-sandbox-secret",
  redirectUris: [redirectUri],
  name: "Tributary",
});

/** Todoist's OAuth, API v1 and webhooks on one origin, and at `/` a page on which to be the person. */
export const todoistEmulator: Emulator<TodoistWorld> = {
  id: "todoist",
  create: (parts) => {
    const { clock, random } = parts;
    const oauth = createOAuthServer({ ...parts, quirks, accounts: [todoistAccount] });
    const webhooks = createWebhooks(parts, oauth);
    const executed: ExecutedCommands = new Map();
    let key = random(16);
    const start = (): TodoistWorld => {
      const made: TodoistWorld = createWorld({
        account: todoistAccount,
        clock,
        key,
        changed: (change) => webhooks(change, made),
      });
      if (parts.seed === "sample") seedWorld(made, clock);
      return made;
    };
    let current = start();
    const app = new Hono();
    oauthRoutes(app, oauth, random);
    const clearLimits = apiRoutes(app, parts, { world: () => current, executed, oauth });
    personPage(app, parts, () => current);
    return {
      app,
      oauth,
      get world() {
        return current;
      },
      reset: () => {
        // Sync tokens of before mean nothing in a new world.
        key = random(16);
        executed.clear();
        clearLimits();
        current = start();
      },
      snapshot: () => ({ key, executed, oauth: oauth.snapshot(), world: current.snapshot() }),
      restore: (snapshot) => {
        const kept = snapshot as { key: string; executed: ExecutedCommands; oauth: unknown; world: unknown };
        ({ key } = kept);
        current = start();
        for (const [uuid, command] of kept.executed) executed.set(uuid, command);
        oauth.restore(kept.oauth);
        current.restore(kept.world);
      },
    };
  },
};
