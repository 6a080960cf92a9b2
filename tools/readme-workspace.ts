import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { readmeBlocks } from "./readme.ts";
import { repositoryRoot } from "./tree.ts";

/** README.md's TypeScript, written down where it resolves its imports as in the package that its first line names. */
export interface ReadmeWorkspace {
  readonly folder: string;
  /** Paths as the page names them, such as "services/hub/listen.ts". */
  readonly files: readonly string[];
  remove(): void;
}

/** A folder outside the checkout, so that no gate sees half of it: the packages' `node_modules` are linked in. */
export function writeReadmeWorkspace(): ReadmeWorkspace {
  const folder = mkdtempSync(join(tmpdir(), "tributary-readme-"));
  const files = readmeBlocks.filter(({ language }) => language === "ts").map(({ text }) => writeBlock(folder, text));
  const settings = {
    extends: join(repositoryRoot, "tsconfig.json"),
    compilerOptions: { typeRoots: [join(repositoryRoot, "node_modules/@types")] },
    include: [],
    files,
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(settings));
  return { folder, files, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function writeBlock(folder: string, text: string): string {
  const [, file = "", home = ""] = /^\/\/ ((\w+\/\w+)\/\S+\.ts)\n/.exec(text) ?? [];
  if (file === "") throw new Error("a TypeScript block of README.md begins with a comment that names its file");
  mkdirSync(join(folder, dirname(file)), { recursive: true });
  writeFileSync(join(folder, file), text);
  writeFileSync(join(folder, home, "package.json"), JSON.stringify({ type: "module" }));
  symlinkSync(join(repositoryRoot, home, "node_modules"), join(folder, home, "node_modules"));
  return file;
}
