/** What one folder of the workspace may import from the others; folders, or single files where only those are meant. */
export interface AllowRow {
  readonly production: readonly string[];
  /** Besides, for tests, benches and test harnesses. */
  readonly tests?: readonly string[];
  /** Besides, for a connector's emulator. */
  readonly emulators?: readonly string[];
}

/**
 * Who may import whom. Anything that does not stand here is forbidden. Changing a row is a change of the architecture:
 * it comes with a record in docs/adr.
 */
export const ALLOW_LIST: Readonly<Record<string, AllowRow>> = {
  "packages/contracts": { production: [] },
  "packages/db": { production: [] },
  "packages/sandbox": { production: [] },
  "packages/sdk": { production: ["packages/contracts"] },
  "packages/connectors": {
    production: ["packages/sdk", "packages/contracts"],
    emulators: ["packages/sandbox"],
    tests: ["packages/sandbox", "packages/conformance"],
  },
  "packages/vault": { production: ["packages/sdk", "packages/db"] },
  "packages/pipeline": { production: ["packages/contracts", "packages/db"] },
  "packages/subscriber": { production: ["packages/contracts"] },
  "packages/integrations": {
    // The connectors are passed in.
    production: ["packages/sdk", "packages/contracts", "packages/vault", "packages/pipeline", "packages/db"],
  },
  "packages/conformance": {
    production: [
      "packages/sdk",
      "packages/contracts",
      "packages/sandbox",
      "packages/vault",
      "packages/integrations",
      "packages/pipeline",
      "packages/db",
    ],
  },
  "packages/auth": { production: ["packages/db"] },
  "packages/api": {
    production: ["packages/integrations", "packages/pipeline", "packages/auth", "packages/contracts", "packages/db"],
  },
  // Commands that need the vault or the runtime are the hub's own.
  "packages/cli": { production: ["packages/contracts", "packages/subscriber", "packages/sdk"] },
  "services/sandbox": { production: ["packages/sandbox", "packages/connectors/src/emulators.ts"] },
  // The panel can do nothing that the public API cannot.
  "services/web": { production: ["packages/contracts"] },
  "services/hub": { production: ["packages", "services"] },
  // What is promised in words (errors, events) is compared with what is promised in code.
  tools: { production: [], tests: ["packages/contracts"] },
};

/** What every test may import besides its package's row: the harnesses that start private servers. */
export const TEST_HARNESSES: readonly string[] = [
  "packages/db/src/testing",
  "packages/pipeline/src/testing",
  "packages/subscriber/src/testing",
];

/** A third-party library that matters has one owner, so that replacing it is a change of one file. */
export interface Owner {
  readonly name: string;
  readonly modules: readonly string[];
  /** Regular expressions of the files that may import it. */
  readonly files: readonly string[];
}

export const OWNERS: readonly Owner[] = [
  {
    name: "libsodium",
    modules: ["libsodium-wrappers", "libsodium-wrappers-sumo", "sodium-native"],
    files: ["^packages/vault/src/seal\\.ts$"],
  },
  { name: "openid-client", modules: ["openid-client"], files: ["^packages/vault/src/oauth\\.ts$"] },
  {
    name: "nats",
    modules: ["@nats-io/[^/]+", "nats"],
    files: [
      "^packages/pipeline/src/(jetstream|jetstream-side|nats-connection|stream-settings|stream-messages|relay-headers|broker-answers|erase-messages)\\.ts$",
      // Its own tests look at the broker with a plain client: a second opinion on what is on the wire.
      "^packages/pipeline/.+\\.test\\.ts$",
      "^packages/pipeline/(src/testing|test|bench)/",
      "^packages/subscriber/",
    ],
  },
  { name: "jose", modules: ["jose"], files: ["^packages/auth/"] },
  { name: "auth.js", modules: ["@auth/core"], files: ["^packages/auth/src/session\\.ts$"] },
  {
    name: "postgres-driver",
    modules: ["postgres", "@electric-sql/pglite", "drizzle-orm/(postgres-js|pglite)"],
    // An inbox is tried with the drivers that its users have.
    files: ["^packages/db/", "^packages/subscriber/src/postgres-inbox\\.servers\\.test\\.ts$"],
  },
];

/** Tests, benches and the harnesses they share; never part of what runs in production. */
export const TEST_SIDE =
  "(\\.test\\.ts$|^(packages|services)/[^/]+/(test|bench|crash|src/testing)/|^packages/conformance/)";

/** A connector's simulated provider: `<provider>/emulator.ts`, parts of it beside it, and the list of them. */
export const EMULATOR_SIDE =
  "^packages/connectors/src/(emulators\\.ts$|[^/]+/emulator\\.ts$|[^/]+/emulator-[^/]+\\.ts$|[^/]+/emulator/)";

export const isTestSide = (file: string): boolean => new RegExp(TEST_SIDE).test(file);
