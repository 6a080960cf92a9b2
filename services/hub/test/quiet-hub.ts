import { asOwner, run } from "@tributary/db";
import { freePorts } from "@tributary/db/testing";
import { hash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../src/config.ts";
import { createBrowser } from "../src/demo/browser.ts";
import { type Hub, startHub } from "../src/hub.ts";
import { rowsIn } from "./stored-rows.ts";

/** A whole hub, embedded, where nothing happens but by request: no scheduler runs. Somebody has signed in and linked. */
export interface QuietHub {
  readonly hub: Hub;
  /** Id of the one connection there is. */
  readonly connection: string;
  /** A request with the person's cookie, whose headers and body are free. */
  send(ask: Ask): Promise<Response>;
  /** Through the provider's own page. @returns where the browser ends. */
  consent(button: "Allow" | "Deny", wish?: Consent): Promise<URL>;
  /** Every row, by table and text, but for the tables that may have changed. */
  stored(except?: readonly string[]): Promise<readonly string[]>;
  /** Statements with the owner's rights, between double semicolons. */
  asHouse(text: string): Promise<void>;
  stop(): Promise<void>;
}

export interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly json?: unknown;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Consent {
  /** To link again. */
  readonly connectionId?: string;
  /** Asked for instead of what the connector needs. */
  readonly scope?: string;
}

export async function startQuietHub(): Promise<QuietHub> {
  const folder = mkdtempSync(join(tmpdir(), "tributary-quiet-"));
  const port = await freePorts(3);
  const settings = {
    TRIBUTARY_DATA_DIR: folder,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    TRIBUTARY_ROLES: "http,ingress,vault",
    LOG_LEVEL: "silent",
  };
  const hub = await startHub(readConfig(settings, ["todoist"]));
  const browser = createBrowser();
  const consent: QuietHub["consent"] = async (button, { connectionId, scope } = {}) => {
    const json = connectionId === undefined ? {} : { connectionId };
    const begun = await browser.send(`${hub.origin}/api/integrations/todoist/oauth/start`, { method: "POST", json });
    const url = new URL(((await begun.json()) as { redirectUrl: string }).redirectUrl);
    if (scope !== undefined) url.searchParams.set("scope", scope);
    return (await browser.press(await browser.open(url.href), button)).url;
  };
  await browser.press(await browser.open(`${hub.origin}/auth/signin?returnTo=/connections`), "Continue");
  await consent("Allow");
  const [one] = await asOwner(hub.database, (tx) => run<{ id: string }>(tx, "SELECT id FROM integrations.connection"));
  const cookie = await mintSession(hub);
  if (one === undefined) throw new Error("nothing was linked");
  return {
    hub,
    connection: one.id,
    consent,
    send: ({ method, path, json, body, headers = {} }) => {
      const sent = json === undefined ? body : JSON.stringify(json);
      return fetch(new URL(path, hub.origin), {
        method: method ?? (sent === undefined ? "GET" : "POST"),
        redirect: "manual",
        headers: {
          origin: hub.origin,
          cookie,
          // What is refused unread ends its connection; the next request takes another.
          connection: "close",
          ...(json === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(sent === undefined ? {} : { body: sent }),
      });
    },
    stored: async (except = []) => {
      const tables = Object.entries(await rowsIn(hub.database)).filter(([table]) => !except.includes(table));
      return tables.flatMap(([table, rows]) => rows.map((row) => `${table} ${row}`));
    },
    asHouse: (text) =>
      asOwner(hub.database, async (tx) => {
        for (const statement of text.split(";;")) await run(tx, statement);
      }),
    stop: async () => {
      await hub.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Another session of the one person there is, as a sign-in opens it. @returns the cookie. */
async function mintSession(hub: Hub): Promise<string> {
  const token = randomBytes(32).toString("base64url");
  await asOwner(hub.database, (tx) => run(tx, OPEN, [hash("sha256", token, "hex")]));
  return `tributary-session=${token}`;
}
const OPEN = `INSERT INTO auth.session SELECT $1, organization_id, user_id, now(), now(), now() + interval '1 hour'
  FROM auth.membership`;
