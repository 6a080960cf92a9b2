import { defineConfig } from "vitest/config";

/**
 * The rooms of the test house. Each project is one row of DESIGN's time budget; `npm test` runs them one after the other
 * so that two cores are never shared by servers and a browser at once.
 */
const project = (name: string, include: string[], options: Record<string, unknown> = {}) => ({
  test: { name, include, environment: "node" as const, globalSetup: [], ...options },
});

export default defineConfig({
  test: {
    projects: [
      project("unit", ["packages/*/src/**/*.test.ts", "services/*/src/**/*.test.ts", "tools/**/*.test.ts"], {
        exclude: ["**/*.{servers,browser,crash,story}.test.ts"],
      }),
      project("servers", ["{packages,services}/*/{src,test}/**/*.{servers,story}.test.ts"], {
        testTimeout: 60_000,
        hookTimeout: 60_000,
        fileParallelism: false,
      }),
      project("browser", ["{packages,services}/*/{src,test}/**/*.browser.test.ts"], {
        testTimeout: 120_000,
        hookTimeout: 60_000,
        fileParallelism: false,
      }),
      project("crash", ["{packages,services}/*/{src,test}/**/*.crash.test.ts"], {
        testTimeout: 300_000,
        hookTimeout: 60_000,
        fileParallelism: false,
      }),
    ],
  },
});
