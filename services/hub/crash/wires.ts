import { openWire, type Wire } from "./wire.ts";

/** A server that processes dial. */
export type Server = "database" | "broker" | "hub";

/** The processes that have wires of their own. */
const DIALLING: Readonly<Record<Server, readonly string[]>> = {
  database: ["commit", "relay", "relay beside", "subscribe", "serve"],
  broker: ["relay", "relay beside", "subscribe", "serve"],
  hub: ["subscribe"],
};

/** The ways from each process to each server that it dials. */
export interface Wires {
  /** Where a process finds a server: at its wire's end, or at the server itself when it has none. */
  port(process: string, server: Server): number;
  /** @throws Error when there is none. */
  between(process: string, server: Server): Wire;
  close(): Promise<void>;
}

/**
 * @param all false: only subscribers have a wire, and only to a hub. @param servers their ports; a server that is not
 * there is not dialled.
 */
export async function openWires(all: boolean, servers: Readonly<Partial<Record<Server, number>>>): Promise<Wires> {
  const wires = new Map<string, Wire>();
  const nameOf = (process: string, server: Server): string => `${process} to ${server}`;
  for (const server of ["database", "broker", "hub"] as const) {
    const target = servers[server];
    if (target === undefined || (!all && server !== "hub")) continue;
    for (const process of DIALLING[server]) wires.set(nameOf(process, server), await openWire(target));
  }
  return {
    port: (process, server) => wires.get(nameOf(process, server))?.port ?? servers[server] ?? 0,
    between: (process, server) => {
      const wire = wires.get(nameOf(process, server));
      if (wire === undefined) throw new Error(`there is no wire from ${nameOf(process, server)}`);
      return wire;
    },
    close: async () => void (await Promise.all([...wires.values()].map((wire) => wire.close()))),
  };
}
