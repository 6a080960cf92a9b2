import { type KeyStatus, openKeyKeeper, type RotationStep } from "@tributary/vault";
import { Argument, Command } from "commander";
import { keySourceOf } from "../config.ts";
import { type CommandContext, report } from "./command-line.ts";
import { type OpenData, withData } from "./open-data.ts";
import { stepPrinter } from "./step-printer.ts";

/** `tributary keys`: the vault's keys. */
export function keysCommand(context: CommandContext): Command {
  const keys = new Command("keys").description("the vault's keys: how they stand, and how they are changed");
  keys
    .command("status")
    .description("show which keys there are, what each of them wraps, and how far a rotation has come")
    .action((_options: object, command: Command) =>
      withData(context, async (data) => {
        const status = await (await keeperOf(context, data)).status();
        report(context, command, status, statusLines(status));
      }),
    );
  keys
    .command("new")
    .description("add a key-encryption key to the ring; nothing is wrapped with it before it is rotated in")
    .action((_options: object, command: Command) => withData(context, (data) => addKey(context, command, data)));
  keys
    .command("rotate")
    .summary("change the keys; goes on where it was cut short")
    .description(
      "kek: makes the youngest key of the file the first, and wraps everything under the first. " +
        "subjects: gives every organisation and person a new key pair, and seals every secret to it. " +
        "Goes on where it was cut short.",
    )
    .addArgument(new Argument("[which]", "which keys").choices(["kek", "subjects", "all"]).default("all"))
    .action((which: "kek" | "subjects" | "all", _options: object, command: Command) =>
      withData(context, (data) => rotate(context, command, data, which)),
    );
  return keys;
}

const keeperOf = (context: CommandContext, { config, database }: OpenData) =>
  // Embedded, the folder's lock is ours: no hub runs.
  openKeyKeeper({ database, keys: keySourceOf(config), alone: config.databaseUrl === undefined, now: context.now });

async function addKey(context: CommandContext, command: Command, data: OpenData): Promise<void> {
  const { id, ring } = await (await keeperOf(context, data)).addKey();
  if (ring === undefined) {
    report(context, command, { id }, [`${id} was added; "tributary keys rotate kek" makes it the first`]);
    return;
  }
  context.stderr.write(`${id} was added: put this ring where TRIBUTARY_VAULT_KEYS comes from, and restart every hub\n`);
  report(context, command, { id, ring }, [ring]);
}

async function rotate(
  context: CommandContext,
  command: Command,
  data: OpenData,
  which: "kek" | "subjects" | "all",
): Promise<void> {
  const keeper = await keeperOf(context, data);
  const onStep = stepPrinter(context, (step: RotationStep) => `${SAYINGS[step.step]} ${step.done} of ${step.total}`);
  const kek = which === "subjects" ? undefined : await keeper.rotateKek(onStep);
  const subjects = which === "kek" ? undefined : await keeper.rotateSubjects(onStep);
  const status = await keeper.status();
  const unreadable = (kek?.unreadable ?? 0) + (subjects?.unreadable ?? 0);
  report(context, command, { kek: kek ?? null, subjects: subjects ?? null, status }, [
    ...(kek === undefined ? [] : [`${kek.changed} key pairs were wrapped under ${kek.id}`]),
    ...(subjects === undefined
      ? []
      : [
          `${subjects.subjects} organisations and people have a new key pair; ${subjects.changed} secrets were sealed to it`,
          `${subjects.retired} old key pairs were destroyed`,
        ]),
    ...(unreadable === 0 ? [] : [`${unreadable} rows do not open and stayed as they are: they were damaged or moved`]),
    ...statusLines(status),
  ]);
}

const SAYINGS: Readonly<Record<RotationStep["step"], string>> = {
  wrap: "wrapping key pairs:",
  generation: "making key pairs:",
  reseal: "sealing secrets:",
  retire: "destroying old key pairs:",
};

function statusLines(status: KeyStatus): string[] {
  const { keys, subjects, secrets, secretsToReseal, oldGenerations, rotation } = status;
  return [
    ...keys.map(({ id, inRing, wraps }, index) => {
      const place = inRing ? (index === 0 ? "first: wraps what is new" : "unwraps") : "MISSING from the ring";
      return `${id.padEnd(12)} ${String(wraps).padStart(8)} key pairs  ${place}`;
    }),
    `${subjects} organisations and people, ${secrets} secrets`,
    ...(secretsToReseal + oldGenerations === 0
      ? []
      : [`${secretsToReseal} secrets are sealed to older key pairs, of which there are ${oldGenerations}`]),
    ...(rotation === undefined
      ? []
      : [
          rotation.finishedAt === null
            ? `a rotation of ${rotation.startedAt} is under way: ${rotation.subjectsLeft} have no new key pair yet`
            : `the last rotation ended at ${rotation.finishedAt}`,
        ]),
  ];
}
