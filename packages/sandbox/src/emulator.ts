import { getRequestListener } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { Hono } from "hono";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize, serialize } from "node:v8";
import { createClock, type SandboxClock } from "./clock.ts";
import { createDeliveries, type Deliveries } from "./deliveries.ts";
import { createFaults, type Fault, type Faults } from "./faults.ts";
import { createJournal, type Journal, withoutSecrets } from "./journal.ts";
import type { OAuthServer, SandboxClient } from "./oauth-server.ts";

/** A simulated provider: its routes as on the wire, and what can be done to it from outside. One origin each. */
export interface Emulator<World> {
  /** Id of the connector that it is for. */
  readonly id: string;
  create(parts: EmulatorParts): EmulatorFace<World>;
}

/** What an emulator is made of; everything that a test must be able to drive comes in here. */
export interface EmulatorParts extends Required<Pick<EmulatorOptions, "clients" | "tokenPrefix" | "seed">> {
  readonly clock: SandboxClock;
  readonly journal: Journal;
  readonly deliveries: Deliveries;
  /** Hexadecimal, of so many bytes. */
  readonly random: (bytes: number) => string;
  /** Where it listens, once it does. */
  readonly origin: () => string;
  readonly webhookUrl: string | undefined;
}

export interface EmulatorFace<World> {
  readonly app: Hono;
  readonly oauth?: OAuthServer;
  /** Acts as the people whose accounts are simulated. */
  readonly world: World;
  /** Back to the seed. */
  reset(): void;
  /** What the provider knows, for {@link EmulatorFace.restore}; shares structure, so write it down at once. */
  snapshot(): unknown;
  restore(snapshot: unknown): void;
}

/** Where a simulated provider keeps what it knows, so that it survives the process as a real one would. */
export interface EmulatorStore {
  load(): Uint8Array | undefined;
  /** Called after each request that may have changed something, before it is answered. */
  save(state: Uint8Array): void;
}

export interface EmulatorOptions {
  /** 0 takes a free one. */
  readonly port: number;
  /** Default 127.0.0.1. Nobody is asked for a password here: never bind it where others reach it. */
  readonly host?: string;
  readonly clock?: SandboxClock;
  /** OAuth clients that it knows; each emulator's README names its default. */
  readonly clients?: readonly SandboxClient[];
  /** "sample" (default) or "empty". */
  readonly seed?: "sample" | "empty";
  /** Every code and token starts with it, so that a test can search for them where they must not be. */
  readonly tokenPrefix?: string;
  /** Where webhooks go, once somebody has consented. Absent: none are sent. */
  readonly webhookUrl?: string;
  /** Absent: it forgets everything when it stops. */
  readonly store?: EmulatorStore;
  /** Default: `process.env`. Under NODE_ENV=production nothing starts, unless `allowProduction`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly allowProduction?: boolean;
}

export interface RunningEmulator<World> {
  readonly id: string;
  readonly origin: string;
  readonly control: Control<World>;
  stop(): Promise<void>;
}

/** What only the one who started it can do. */
export interface Control<World> {
  readonly clock: SandboxClock;
  readonly faults: Faults;
  readonly journal: Journal;
  readonly deliveries: Deliveries;
  readonly oauth: OAuthServer | undefined;
  readonly world: World;
  /** Back to the seed: grants, faults, journal and deliveries are gone; the clock stays. */
  reset(): void;
}

const BODY_BYTES_MAX = 1024 * 1024;

/** @throws Error with the system's code (EADDRINUSE) when the port is taken; in production, always. */
export async function startEmulator<World>(
  emulator: Emulator<World>,
  options: EmulatorOptions,
): Promise<RunningEmulator<World>> {
  const environment = options.environment ?? process.env;
  if (environment["NODE_ENV"] === "production" && options.allowProduction !== true)
    throw new Error(`the ${emulator.id} sandbox does not start with NODE_ENV=production`);
  const host = options.host ?? "127.0.0.1";
  const clock = options.clock ?? createClock();
  const journal = createJournal();
  const faults = createFaults();
  const deliveries = createDeliveries(journal);
  let origin = "";
  const face = emulator.create({
    clock,
    journal,
    deliveries,
    random: (bytes) => randomBytes(bytes).toString("hex"),
    origin: () => origin,
    clients: options.clients ?? [],
    seed: options.seed ?? "sample",
    tokenPrefix: options.tokenPrefix ?? "",
    webhookUrl: options.webhookUrl,
  });
  const { store } = options;
  const kept = store?.load();
  if (kept !== undefined) face.restore(deserialize(kept));
  const save = (): void => store?.save(serialize(face.snapshot()));
  const server = createServer(listener(face.app, { clock, journal, faults, save }));
  await listen(server, options.port, host);
  origin = `http://${host.includes(":") ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`;
  const reset = (): void => {
    faults.clear();
    deliveries.clear();
    face.oauth?.clear();
    face.reset();
    journal.clear();
  };
  return {
    id: emulator.id,
    origin,
    control: {
      clock,
      faults,
      journal,
      deliveries,
      oauth: face.oauth,
      get world() {
        return face.world;
      },
      reset,
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const listen = (server: Server, port: number, host: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });

interface Witness {
  readonly clock: SandboxClock;
  readonly journal: Journal;
  readonly faults: Faults;
  readonly save: () => void;
}

/** The provider's routes behind the journal, the limits and the faults. */
function listener(app: Hono, { clock, journal, faults, save }: Witness) {
  const answer = async (request: Request): Promise<Response> => {
    const length = Number(request.headers.get("content-length") ?? (request.method === "POST" ? Number.NaN : 0));
    // Every client of a provider's API sends a length; a body without one would have to be counted as it comes.
    if (!(length <= BODY_BYTES_MAX)) return new Response(null, { status: Number.isNaN(length) ? 411 : 413 });
    const response = await app.fetch(request);
    if (request.method !== "GET") save();
    return response;
  };
  const handle = async (request: Request, { outgoing }: { readonly outgoing: Breakable }): Promise<Response> => {
    const remembered = withoutSecrets(request);
    const fault = faults.take(remembered.method, remembered.path);
    const response = fault === undefined ? await answer(request) : await misbehave(fault, request, answer, outgoing);
    journal.record({ at: clock.now().toISOString(), ...remembered, status: outgoing.destroyed ? 0 : response.status });
    return response;
  };
  const respond = getRequestListener((request, env) => handle(request, { outgoing: env.outgoing as ServerResponse }));
  return (incoming: IncomingMessage, outgoing: ServerResponse): void => void respond(incoming, outgoing);
}

type Breakable = Pick<ServerResponse, "destroy" | "destroyed" | "writeHead" | "write">;

async function misbehave(
  fault: Fault,
  request: Request,
  answer: (request: Request) => Promise<Response>,
  outgoing: Breakable,
): Promise<Response> {
  if (fault.delayMs !== undefined) await sleep(fault.delayMs);
  const replaced = fault.status !== undefined || fault.body !== undefined;
  const effect = fault.afterEffect === true || (!replaced && fault.reset !== true);
  const real = effect ? await answer(request) : undefined;
  if (fault.reset === true) {
    outgoing.destroy();
    return RESPONSE_ALREADY_SENT;
  }
  const response = replaced || real === undefined ? madeUp(fault) : withHeaders(real, fault.headers);
  if (fault.truncate === undefined) return response;
  const body = Buffer.from(await response.arrayBuffer());
  const headers = { ...Object.fromEntries(response.headers), "content-length": String(body.length) };
  outgoing.writeHead(response.status, headers);
  await new Promise<void>((resolve) => outgoing.write(body.subarray(0, fault.truncate), () => resolve()));
  outgoing.destroy();
  return RESPONSE_ALREADY_SENT;
}

function madeUp({ status = 200, headers = {}, body = "" }: Fault): Response {
  const json = typeof body !== "string";
  return new Response(json ? JSON.stringify(body) : body, {
    status,
    headers: { ...(json ? { "content-type": "application/json" } : {}), ...headers },
  });
}

function withHeaders(response: Response, headers: Readonly<Record<string, string>> = {}): Response {
  const all = new Headers(response.headers);
  for (const [name, value] of Object.entries(headers)) all.set(name, value);
  return new Response(response.body, { status: response.status, headers: all });
}
