import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { ALLOW_LIST } from "./checks/allow-list.ts";
import { repositoryRoot, sourceFiles, textOf } from "./tree.ts";

const pages = (await sourceFiles(repositoryRoot)).filter((file) => /^docs\/.+\.md$/.test(file));
const textOfPage = (page: string): string => textOf(repositoryRoot, page) ?? "";

it.each(pages)("%s names only files that are there", (page) => {
  const named = [...textOfPage(page).matchAll(/`((?:packages|services|tools|docs|proto)\/[\w./-]*)`/g)];
  const links = [...textOfPage(page).matchAll(/\]\(([\w./-]+)\)/g)];
  const paths = [...named.map(([, path = ""]) => path), ...links.map(([, path = ""]) => join(dirname(page), path))];
  // The allow-list may have a row for a package before its first file.
  const missing = paths.filter((path) => !(path in ALLOW_LIST) && !existsSync(join(repositoryRoot, path)));
  expect(missing).toEqual([]);
});

it("docs/ARCHITECTURE.md says who may import whom as the gate has it", () => {
  const rows = textOfPage("docs/ARCHITECTURE.md").matchAll(/^\| `((?:packages|services)\/\w+|tools)` \| ([^|]+) \|/gm);
  const told = [...rows].map(([, folder, imports = ""]) => [
    folder,
    [...imports.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  ]);
  const production = Object.entries(ALLOW_LIST).map(([folder, row]) => [
    folder,
    row.production.map((path) => path.replace(/^packages\//, "")),
  ]);
  expect(Object.fromEntries(told)).toEqual(Object.fromEntries(production));
});
