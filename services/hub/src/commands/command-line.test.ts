import { VaultError } from "@tributary/vault";
import { Command } from "commander";
import { expect, it } from "vitest";
import { ConfigError } from "../config.ts";
import { CommandFailure, type MakeCommand, report, runCommandLine } from "./command-line.ts";

async function run(argv: readonly string[], work: () => Promise<void> = async () => {}) {
  const written = { stdout: "", stderr: "" };
  const speak: MakeCommand = (context) =>
    new Command("speak").addCommand(
      new Command("up").action(async (_options: object, command: Command) => {
        await work();
        report(context, command, { said: 1 }, ["one", "two"]);
      }),
    );
  const code = await runCommandLine(argv, [speak], {
    env: {},
    integrations: [],
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    now: () => new Date(0),
  });
  return { code, ...written };
}

it("prints lines for people and one line of JSON for programs", async () => {
  expect(await run(["speak", "up"])).toEqual({ code: 0, stdout: "one\ntwo\n", stderr: "" });
  for (const argv of [
    ["--json", "speak", "up"],
    ["speak", "up", "--json"],
  ])
    expect(await run(argv)).toEqual({ code: 0, stdout: '{"said":1}\n', stderr: "" });
});

it.each([[["speak", "down"]], [["sing"]], [["speak", "up", "--loud"]], [[]]])(
  "ends with 2 for a command line that means nothing: %j",
  async (argv) => {
    expect((await run(argv)).code).toBe(2);
    const answer = JSON.parse((await run([...argv, "--json"])).stdout) as { error: string };
    expect(answer.error).toBe("usage");
  },
);

it("says on one line what is wrong, and where it stands what can be given", async () => {
  expect((await run(["speak", "up", "--loud"])).stderr).toBe(
    "tributary: unknown option '--loud'; `tributary speak up --help` says what can be given\n",
  );
  expect((await run(["speak", "up", "--loud", "--json"])).stderr).toBe("");
  expect((await run(["speak", "up", "--help"])).stdout).toContain("--json");
});

it("ends with 0 for help", async () => {
  expect(await run(["--help"])).toMatchObject({ code: 0, stdout: expect.stringContaining("speak") });
});

const failures: [Error, number, string][] = [
  [new ConfigError("a setting is wrong"), 3, "config"],
  [new VaultError("key_missing", 'the key "k-1" is missing'), 3, "config"],
  [new VaultError("credential_missing", "there is none"), 1, "failed"],
  [new CommandFailure(4, "not there"), 4, "unreachable"],
  [new CommandFailure(5, "not yours"), 5, "notAllowed"],
];
it.each(failures)("tells a failure by its exit code: %s", async (failure, code, name) => {
  const work = (): Promise<void> => Promise.reject(failure);
  expect(await run(["speak", "up"], work)).toEqual({ code, stdout: "", stderr: `tributary: ${failure.message}\n` });
  expect(await run(["speak", "up", "--json"], work)).toMatchObject({
    code,
    stdout: `${JSON.stringify({ error: name, message: failure.message })}\n`,
  });
});

it("says of a bug where it is, and not what a library said of it", async () => {
  const ended = await run(["speak", "up"], () => Promise.reject(new TypeError("canary")));
  expect(ended).toMatchObject({ code: 1, stderr: expect.stringMatching(/TypeError\n.+command-line\.test\.ts/) });
  expect(ended.stderr).not.toContain("canary");
});
