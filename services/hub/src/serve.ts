import { serve as listen, type ServerType } from "@hono/node-server";
import { ConfigError } from "./config.ts";

export interface Listener {
  /** Stops accepting, lets requests under way end for a second, then closes what is left. */
  close(): Promise<void>;
}

const DRAIN_MS = 1000;

/**
 * HTTP on one address.
 * @throws ConfigError when the port is taken or may not be used.
 */
export async function serve(
  fetch: (request: Request) => Response | Promise<Response>,
  { host, port, setting }: { readonly host: string; readonly port: number; readonly setting: string },
): Promise<Listener> {
  const server = await new Promise<ServerType>((resolve, reject) => {
    const made = listen({ fetch, hostname: host, port, overrideGlobalObjects: false }, () => resolve(made));
    made.once("error", (error: NodeJS.ErrnoException) => reject(portError(error, port, setting)));
  });
  return {
    close: () =>
      new Promise((resolve) => {
        const force = setTimeout(() => "closeAllConnections" in server && server.closeAllConnections(), DRAIN_MS);
        server.close(() => {
          clearTimeout(force);
          resolve();
        });
        if ("closeIdleConnections" in server) server.closeIdleConnections();
      }),
  };
}

/** What a listener's failure means for the operator. */
export function portError(error: NodeJS.ErrnoException, port: number, setting: string): Error {
  if (error.code === "EADDRINUSE") return new ConfigError(`port ${port} is taken; set ${setting} to a free one`);
  if (error.code === "EACCES")
    return new ConfigError(`port ${port} may not be used by this user; set ${setting} to one above 1023`);
  return error;
}
