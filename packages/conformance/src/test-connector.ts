import type { Connector, Json } from "@tributary/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Check } from "./check.ts";
import { checks } from "./checks/checks.ts";
import type { ConformanceEmulator, ProviderAdapter } from "./provider-adapter.ts";
import { openStage, type Stage } from "./stage.ts";

/** What became of each check, by name. Complete once the tests have run; nobody types it in. */
export interface ConformanceResult {
  readonly connector: string;
  readonly passed: readonly string[];
  readonly failed: readonly string[];
  readonly exempt: readonly { readonly name: string; readonly why: string }[];
}

const CHECK_MS_MAX = 60_000;

/**
 * Proves a connector against its emulator, through the real runtime: one call in the connector's test file registers
 * every check as a test of its own. Everything runs in this process, on a database in memory and loopback.
 * @returns the result, which fills while the tests run.
 */
export function testConnector<World, C extends Json>(
  connector: Connector<C>,
  emulator: ConformanceEmulator<World>,
  adapter: ProviderAdapter<World>,
): ConformanceResult {
  const result = {
    connector: connector.id,
    passed: [] as string[],
    failed: [] as string[],
    exempt: [] as { name: string; why: string }[],
  };
  describe(`connector "${connector.id}"`, () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await openStage(connector as unknown as Connector, emulator, adapter);
    });
    afterAll(() => stage.close());
    it.each(checks.map((check) => [check.name, check] as const))(
      "%s",
      async (_name, check) => {
        const why = await runCheck(check, stage).catch((error: unknown) => {
          result.failed.push(check.name);
          throw error;
        });
        if (why === undefined) result.passed.push(check.name);
        else result.exempt.push({ name: check.name, why });
        expect(result.failed).not.toContain(check.name);
      },
      CHECK_MS_MAX,
    );
  });
  return result;
}

/**
 * One check, from an empty database and the provider's seed.
 * @returns why it does not apply; undefined when it passed. @throws ConformanceFailure.
 */
export async function runCheck(check: Check, stage: Stage): Promise<string | undefined> {
  const why = check.exempt?.(stage.connector, stage);
  if (why !== undefined) return why;
  await stage.fresh();
  await check.run(stage);
  return undefined;
}
