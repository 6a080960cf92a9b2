import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { repositoryRoot } from "./tree.ts";

const read = (file: string): string => readFileSync(join(repositoryRoot, file), "utf8");

it("names in .env.example the settings that docs/SETTINGS.md explains, and sets none of them", () => {
  const explained = [...read("docs/SETTINGS.md").matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name = ""]) => name);
  const example = read(".env.example");
  expect(explained.length).toBeGreaterThan(10);
  expect(new Set([...example.matchAll(/^#([A-Z_]+)=/gm)].map(([, name]) => name))).toEqual(new Set(explained));
  expect(example.split("\n").filter((line) => line !== "" && !line.startsWith("#"))).toEqual([]);
});
