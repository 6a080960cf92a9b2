import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { TEST_PROJECTS } from "./tools/test-projects.ts";

const NEVER = ["**/node_modules/**", "**/dist/**"];

export default defineConfig({
  test: {
    // The default leaves one core to nobody, which on two cores is half the machine. Each worker may hold a PGlite of 800 MB.
    maxWorkers: Math.min(availableParallelism(), 4),
    projects: TEST_PROJECTS.map(({ name, include, exclude, oneByOne, testTimeoutMs }) => ({
      test: {
        name,
        include: [...include],
        exclude: [...NEVER, ...exclude],
        environment: "node" as const,
        testTimeout: testTimeoutMs,
        hookTimeout: 120_000,
        fileParallelism: !oneByOne,
      },
    })),
  },
});
