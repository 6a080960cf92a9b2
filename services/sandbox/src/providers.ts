import { emulators } from "@tributary/connectors/emulators";
import { createClock, type EmulatorOptions, type SandboxClock } from "@tributary/sandbox";

type Emulators = typeof emulators;
/** Id of a provider that can be simulated. */
export type ProviderId = keyof Emulators;
type Running = { readonly [Id in ProviderId]: Awaited<ReturnType<Emulators[Id]["start"]>> };

export interface ProvidersOptions {
  /** Ports that differ from each emulator's default; 0 takes a free one. */
  readonly ports?: Partial<Readonly<Record<ProviderId, number>>>;
  /** Default 127.0.0.1. Nobody is asked for a password here: never bind it where others reach it. */
  readonly host?: string;
  /** One time for all of them. Default: this machine's. */
  readonly clock?: SandboxClock;
  /** What else each is started with: its OAuth clients, where its webhooks go, its seed. */
  readonly options?: Partial<
    Readonly<Record<ProviderId, Pick<EmulatorOptions, "clients" | "webhookUrl" | "seed" | "tokenPrefix" | "store">>>
  >;
  readonly environment?: NonNullable<EmulatorOptions["environment"]>;
  readonly allowProduction?: boolean;
}

export interface Providers {
  /** Real origin → where its stand-in listens, for the outbound side of the vault. */
  readonly origins: ReadonlyMap<string, string>;
  readonly clock: SandboxClock;
  /** Each provider's origin, and what can be done to it. */
  readonly running: Running;
  stop(): Promise<void>;
}

/**
 * Starts every simulated provider, each on its own port: three official clients drop a path prefix, so one origin for
 * all would not do. When one cannot start, those that did are stopped again.
 * @throws Error with the system's code (EADDRINUSE) when a port is taken; in production, always.
 */
export async function startProviders({ ports, options, ...shared }: ProvidersOptions = {}): Promise<Providers> {
  const clock = shared.clock ?? createClock();
  const started = new Map<string, Running[ProviderId]>();
  const origins = new Map<string, string>();
  const stop = async (): Promise<void> => {
    await Promise.all([...started.values()].map((emulator) => emulator.stop()));
  };
  try {
    for (const [id, entry] of Object.entries(emulators) as [ProviderId, Emulators[ProviderId]][]) {
      const emulator = await entry.start({
        ...shared,
        ...options?.[id],
        clock,
        port: ports?.[id] ?? entry.defaultPort,
      });
      started.set(id, emulator);
      for (const origin of entry.origins) origins.set(origin, emulator.origin);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { origins, clock, running: Object.fromEntries(started) as Running, stop };
}
