import { defineConfig } from "vitest/config";
import { TEST_PROJECTS } from "./tools/test-projects.ts";

const NEVER = ["**/node_modules/**", "**/dist/**"];

export default defineConfig({
  test: {
    projects: TEST_PROJECTS.map(({ name, include, exclude, oneByOne, testTimeoutMs }) => ({
      test: {
        name,
        include: [...include],
        exclude: [...NEVER, ...exclude],
        environment: "node" as const,
        testTimeout: testTimeoutMs,
        hookTimeout: 60_000,
        fileParallelism: !oneByOne,
      },
    })),
  },
});
