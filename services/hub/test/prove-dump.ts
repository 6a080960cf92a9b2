import { freePorts, startPrivatePostgres } from "@tributary/db/testing";
import { startPrivateNats } from "@tributary/pipeline/testing";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createVisitor } from "../src/demo/visitor.ts";
import { type DrivenHub, driveHub } from "./drive-hub.ts";
import { folder, type Medium, postgresMedia, printed, TALKATIVE_POSTGRES } from "./dump-media.ts";
import type { Planted } from "./plant-secrets.ts";
import { searchFor } from "./secret-search.ts";

export interface DumpProofOptions {
  /** How many secrets the vault is given. */
  readonly secrets: number;
  /** "cluster": PostgreSQL and nats-server. "embedded": PGlite in the data folder. */
  readonly mode: "cluster" | "embedded";
  readonly say?: (line: string) => void;
}

/** What was found in one of the things that a thief could carry away. */
export interface Searched {
  readonly medium: string;
  readonly files: number;
  readonly bytes: number;
  /** Places and spellings in which a planted secret, or one of the vault's own keys, stands. Must be empty. */
  readonly found: readonly string[];
  /** Spellings in which the text stands that was written in the clear on purpose. Must not be empty. */
  readonly needle: readonly string[];
}

export interface DumpProof {
  readonly planted: Planted;
  readonly searched: readonly Searched[];
}

const READ_MS_MAX = 60_000;
/** The simulated provider's own memory, which holds the tokens that it gave out. It is not ours. */
const PROVIDERS_OWN = "sandbox-todoist.bin";
const KEY_FILE = "vault-keys.json";

/**
 * Runs a deployment that is given secrets by every road, takes from it what a thief or a backup could, and looks for them.
 * Something that is no secret, the title of a task, travels the whole way beside them: it has to be found everywhere.
 */
export async function proveDump({ secrets, mode, say = () => {} }: DumpProofOptions): Promise<DumpProof> {
  const secret = `trbsecret${randomBytes(6).toString("hex")}`;
  const needle = `trbneedle${randomBytes(6).toString("hex")}`;
  const root = mkdtempSync(join(tmpdir(), "tributary-dump-"));
  const [data, taken] = [join(root, "data"), join(root, "taken")];
  for (const path of [data, taken]) mkdirSync(path);
  const opened: (() => Promise<unknown>)[] = [];
  try {
    const servers = mode === "cluster" ? await startServers() : undefined;
    if (servers !== undefined) opened.push(servers.stop);
    const port = await freePorts(3);
    const output: Medium[] = [];
    const hub = await driveHub(
      {
        TOKEN_PREFIX: secret,
        TRIBUTARY_DATA_DIR: data,
        TRIBUTARY_PORT: String(port),
        TRIBUTARY_SANDBOX: "true",
        TRIBUTARY_SANDBOX_PORT: String(port + 1),
        ...(servers === undefined ? {} : { DATABASE_URL: servers.databaseUrl, NATS_URL: servers.natsUrl }),
      },
      (name, text) => void output.push(printed(`the hub's ${name}, at level debug`, text)),
    );
    opened.push(async () => hub.child.kill("SIGKILL"));
    say(`${mode}: giving the vault ${secrets} secrets`);
    await live(hub, needle);
    const planted = await hub.ask("plant", secrets);
    writeFileSync(join(data, "needle"), needle);

    say(`${mode}: taking what there is to take`);
    const rows = Object.values(await hub.ask("rows")).flat();
    const fromServer = servers === undefined ? [] : await postgresMedia(servers.databaseUrl, taken);
    await hub.stop();
    const media: readonly Medium[] = [
      printed("every row of every table", rows.join("\n")),
      ...fromServer,
      ...(servers === undefined ? [] : [folder("the broker's store", servers.natsStore)]),
      ...(mode === "cluster" ? [] : [folder("the database's folder", join(data, "database"))]),
      folder("the rest of the data folder", data, ["database", PROVIDERS_OWN, KEY_FILE]),
      ...output.filter(({ name }) => name.includes("stderr")),
    ];
    say(`${mode}: searching`);
    const keys = keysIn(readFileSync(join(data, KEY_FILE), "utf8"));
    return { planted, searched: media.map((medium) => search(medium, secret, keys, needle)) };
  } finally {
    for (const close of opened.toReversed()) await close();
    rmSync(root, { recursive: true, force: true });
  }
}

async function startServers() {
  const [postgres, nats] = await Promise.all([startPrivatePostgres(TALKATIVE_POSTGRES), startPrivateNats()]);
  return {
    databaseUrl: postgres.url,
    natsUrl: nats.url,
    natsStore: nats.store,
    stop: () => Promise.all([nats.stop(), postgres.stop()]),
  };
}

/** Somebody signs in, links an account and has a task: read, appended, published. A refused request names the needle. */
async function live(hub: DrivenHub, needle: string): Promise<void> {
  const person = createVisitor(hub.origin);
  await person.signIn();
  await hub.ask("addTask", needle);
  const { connection } = await person.link("todoist", "Todoist");
  await person.untilRead(connection, READ_MS_MAX);
  await fetch(`${hub.origin}/api/me?organizationId=${needle}`);
}

/** The vault's keys: as they are written in their file, and as the bytes that they stand for. */
const keysIn = (text: string): readonly { readonly name: string; readonly text: string; readonly raw: Buffer }[] =>
  [...text.matchAll(/"(key|signingSeed)": "([\w-]{40,})"/g)].map(([, name = "", key = ""]) => ({
    name,
    text: key,
    raw: Buffer.from(key, "base64url"),
  }));

function search(medium: Medium, secret: string, keys: ReturnType<typeof keysIn>, needle: string): Searched {
  if (keys.length < 2) throw new Error("the vault's keys are not where they are looked for");
  const wanted = searchFor(needle);
  const forbidden = searchFor(secret);
  const found: string[] = [];
  const seen = new Set<string>();
  let [files, bytes] = [0, 0];
  for (const { place, bytes: content } of medium.parts) {
    files++;
    bytes += content.length;
    found.push(...forbidden.in(content).map((how) => `${place}: a secret, ${how}`));
    for (const key of keys)
      if (content.includes(key.text) || content.includes(key.raw)) found.push(`${place}: the vault's ${key.name}`);
    for (const how of wanted.in(content)) seen.add(how);
  }
  return { medium: medium.name, files, bytes, found, needle: [...seen] };
}
