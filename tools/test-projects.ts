/** A room of the test house: files told by their names, run one room after the other. */
export interface TestProject {
  readonly name: string;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** PostgreSQL, nats-server, Chromium or Python: the tests start their own, but the programs have to be there. */
  readonly needsServers: boolean;
  /** One file at a time: what a browser or a crash is timed by is not shared. */
  readonly oneByOne: boolean;
  readonly testTimeoutMs: number;
}

const ROOMS = "{packages,services}/*/{src,test}/**/*";

export const TEST_PROJECTS: readonly TestProject[] = [
  {
    name: "unit",
    include: [`${ROOMS}.test.ts`, "tools/**/*.test.ts"],
    exclude: ["**/*.{servers,story,browser,crash}.test.ts"],
    needsServers: false,
    oneByOne: false,
    // The limit catches what hangs, not what waits for its turn on a busy machine. Waits within tests end before it, and say for what.
    testTimeoutMs: 120_000,
  },
  {
    name: "servers",
    include: [`${ROOMS}.{servers,story}.test.ts`, "tools/**/*.servers.test.ts"],
    exclude: [],
    needsServers: true,
    // Each file has servers of its own, which wait more than they work.
    oneByOne: false,
    testTimeoutMs: 180_000,
  },
  {
    name: "browser",
    include: [`${ROOMS}.browser.test.ts`],
    exclude: [],
    needsServers: true,
    oneByOne: true,
    testTimeoutMs: 120_000,
  },
  {
    name: "crash",
    include: [`${ROOMS}.crash.test.ts`],
    exclude: [],
    needsServers: true,
    oneByOne: true,
    // Behind the limits that the tests set themselves.
    testTimeoutMs: 960_000,
  },
];
