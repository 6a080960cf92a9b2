import { connectors } from "@tributary/connectors";
import { type Providers, startIdentityProvider, startProviders } from "@tributary/sandbox-service";
import { todoistClient, todoistTriggers } from "@tributary/connectors/emulators";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Config, OAuthClientConfig } from "./config.ts";
import type { DataFolder } from "./data-folder.ts";
import { ownSecret } from "./own-secret.ts";
import type { Progress } from "./progress.ts";
import { portError } from "./serve.ts";

/** The simulated outside world: an OpenID provider to sign in with, and every provider on a port of its own. */
export interface Sandbox {
  /** Real origin → where its stand-in listens. */
  readonly origins: ReadonlyMap<string, string>;
  readonly oauthClients: readonly OAuthClientConfig[];
  readonly signIn: { readonly issuer: string; readonly clientId: string; readonly clientSecret: string };
  /** What a person can open in a browser. */
  readonly places: readonly { readonly name: string; readonly url: string }[];
  /** What only the one who started them can do: tokens that expire, answers that fail. */
  readonly running: Providers["running"];
  /** Types of events that a provider's simulated person can be made to cause. */
  readonly triggerTypes: readonly string[];
  /** Has the simulated person do it. @returns what was done; undefined when nothing in the account lends itself to it. */
  trigger(type: string): string | undefined;
  stop(): Promise<void>;
}

/**
 * Starts it on a block of ports: the OpenID provider on the first, the providers on those that follow. What the
 * providers know is kept in the data folder, so that an account linked yesterday is still linked today.
 * @throws ConfigError when a port is taken.
 */
export async function startSandbox(config: Config, folder: DataFolder, onStart: Progress["step"]): Promise<Sandbox> {
  onStart("Starting the simulated providers");
  const firstPort = config.sandbox?.firstPort ?? 0;
  const callback = (integration: string): string =>
    `${config.publicOrigin}/api/integrations/oauth/callback/${integration}`;
  const signInClient = { clientId: "tributary", clientSecret: ownSecret(folder.file("sandbox-sign-in.key")) };
  const identity = await startIdentityProvider({
    port: firstPort,
    clients: [{ ...signInClient, redirectUris: [`${config.publicOrigin}/auth/callback/oidc`] }],
  }).catch((error: NodeJS.ErrnoException) => Promise.reject(portError(error, firstPort, "TRIBUTARY_SANDBOX_PORT")));
  const ports = Object.fromEntries(connectors.map(({ id }, index) => [id, firstPort + 1 + index]));
  const client = todoistClient(callback("todoist"));
  try {
    const providers = await startProviders({
      ports,
      options: {
        todoist: {
          clients: [client],
          webhookUrl: `${config.publicOrigin}/webhooks/todoist/todoist`,
          store: fileStore(folder.file("sandbox-todoist.bin")),
          tokenPrefix: config.sandbox?.tokenPrefix ?? "",
        },
      },
    });
    return {
      origins: providers.origins,
      oauthClients: [{ integration: "todoist", clientId: client.clientId, clientSecret: client.clientSecret }],
      signIn: { issuer: identity.issuer, ...signInClient },
      running: providers.running,
      triggerTypes: Object.keys(todoistTriggers),
      trigger: (type) => todoistTriggers[type]?.(providers.running.todoist.control.world),
      places: [{ name: "Simulated Todoist", url: providers.running.todoist.origin }],
      stop: async () => {
        await providers.stop();
        await identity.close();
      },
    };
  } catch (error) {
    await identity.close();
    throw portError(
      error as NodeJS.ErrnoException,
      (error as { port?: number }).port ?? firstPort + 1,
      "TRIBUTARY_SANDBOX_PORT",
    );
  }
}

/** Replaced whole, so that a killed process leaves the one state or the other. */
function fileStore(path: string): { load(): Uint8Array | undefined; save(state: Uint8Array): void } {
  return {
    load: () => (existsSync(path) ? readFileSync(path) : undefined),
    save: (state) => {
      writeFileSync(`${path}.tmp`, state, { mode: 0o600 });
      renameSync(`${path}.tmp`, path);
    },
  };
}
