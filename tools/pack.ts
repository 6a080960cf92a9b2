import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { command } from "./command.ts";
import { repositoryRoot } from "./tree.ts";

/** What a subscriber's own project installs. In this order: the second depends on the first. */
const PACKAGES = ["contracts", "subscriber"] as const;

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/**
 * Builds the packages that others install: JavaScript and declarations, for Node strips no types below `node_modules`.
 * @param out where the tarballs go; made when it is missing.
 * @returns their paths. @throws Error with the compiler's words when a package does not compile.
 */
export async function pack(out: string): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), "tributary-pack-"));
  mkdirSync(out, { recursive: true });
  try {
    const tarballs: string[] = [];
    for (const name of PACKAGES) tarballs.push(await packOne(name, folder, resolve(out)));
    return tarballs;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function packOne(name: string, folder: string, out: string): Promise<string> {
  const source = join(repositoryRoot, "packages", name);
  const target = join(folder, name);
  mkdirSync(target);
  const settings = join(target, "tsconfig.json");
  writeFileSync(settings, JSON.stringify(compilerSettings(source, join(target, "dist"))));
  const compiler = join(repositoryRoot, "node_modules/typescript-7/bin/tsc");
  const compiled = await command(process.execPath, [compiler, "-p", settings], { cwd: repositoryRoot });
  if (compiled.code !== 0) throw new Error(`${name} does not compile:\n${compiled.output}`);
  rmSync(settings);
  nameDeclarations(join(target, "dist"));
  const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8")) as Manifest;
  writeFileSync(join(target, "package.json"), `${JSON.stringify(published(manifest), null, 2)}\n`);
  for (const path of dataOf(manifest)) cpSync(join(source, path), join(target, distOf(path)));
  cpSync(join(repositoryRoot, "LICENSE"), join(target, "LICENSE"));
  cpSync(join(source, "README.md"), join(target, "README.md"));
  const file = join(out, `${manifest.name.replace("@", "").replace("/", "-")}-${manifest.version}.tgz`);
  // npm's own layout: everything below "package". Sorted and without the builder's times and names.
  const flags = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  const packed = await command("tar", [...flags, "-czf", file, `--transform=s,^${name},package,`, name], {
    cwd: folder,
  });
  if (packed.code !== 0) throw new Error(packed.output);
  return file;
}

const compilerSettings = (source: string, outDir: string) => ({
  extends: join(repositoryRoot, "tsconfig.json"),
  compilerOptions: {
    noEmit: false,
    allowImportingTsExtensions: false,
    rewriteRelativeImportExtensions: true,
    declaration: true,
    rootDir: join(source, "src"),
    typeRoots: [join(repositoryRoot, "node_modules/@types")],
    outDir,
  },
  include: [],
  files: [join(source, "src/index.ts")],
});

/** The compiler leaves ".ts" in declarations, where not every tool looks for "d.ts". */
function nameDeclarations(dist: string): void {
  for (const name of readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((each) =>
    each.endsWith(".d.ts"),
  )) {
    const file = join(dist, name);
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(/((?:from|import\() ?"\.[^"]*)\.ts"/g, '$1.js"'));
  }
}

/** What a package exports besides code. */
const dataOf = ({ exports }: Manifest): string[] => Object.values(exports).filter((path) => path.endsWith(".json"));

const distOf = (path: string): string => path.replace(/^\.\/src\//, "./dist/");

/**
 * The workspace's shorthands become versions: "catalog:" the pinned one, "workspace:*" the package's own. `main` and
 * `types` are for tools from before `exports`. Parts for tests are not exported.
 */
function published(manifest: Manifest) {
  const { name, version, description, license, dependencies = {} } = manifest;
  const exact = Object.entries(dependencies).map(([dependency, range]) => [
    dependency,
    range.startsWith("workspace:") ? version : catalogVersion(dependency),
  ]);
  return {
    name,
    version,
    description,
    license,
    type: "module",
    engines: { node: ">=22" },
    main: "./dist/index.js",
    types: "./dist/index.d.ts",
    exports: {
      ".": { types: "./dist/index.d.ts", default: "./dist/index.js" },
      ...Object.fromEntries(dataOf(manifest).map((path) => [`./${basename(path)}`, distOf(path)])),
      "./package.json": "./package.json",
    },
    sideEffects: false,
    dependencies: Object.fromEntries(exact) as Record<string, string>,
  };
}

function catalogVersion(dependency: string): string {
  const workspace = readFileSync(join(repositoryRoot, "pnpm-workspace.yaml"), "utf8");
  const escaped = dependency.replaceAll("/", "\\/");
  const [, version] = new RegExp(`^ {2}"?${escaped}"?: (\\S+)$`, "m").exec(workspace) ?? [];
  if (version === undefined) throw new Error(`${dependency} is not in the catalog`);
  return version;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const out = process.argv[2] ?? join(repositoryRoot, "dist");
  for (const tarball of await pack(out)) process.stdout.write(`${tarball}\n`);
}
