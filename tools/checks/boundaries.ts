import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cruise, type ICruiseResult, type IForbiddenRuleType } from "dependency-cruiser";
import { type CheckResult, sourceFiles } from "../tree.ts";
import { ALLOW_LIST, EMULATOR_SIDE, OWNERS, TEST_HARNESSES, TEST_SIDE } from "./allow-list.ts";

/** Fewer modules than this means that the cruise did not work, whatever its exit code says. */
const MODULES_MIN = 10;
const FOLDERS = ["packages", "services", "tools"];

/**
 * Executes the allow-list on every import of the tree, type imports and dynamic ones included.
 * dependency-cruiser without a TypeScript that it can load sees nothing and is content; so every source file must be
 * among the modules it reports.
 */
export async function checkBoundaries(root: string): Promise<CheckResult> {
  const files = (await sourceFiles(root)).filter((file) => /^(packages|services|tools)\/.*\.(ts|mjs)$/.test(file));
  const present = files.filter((file) => existsSync(join(root, file)));
  const packages = [...new Set(present.map((file) => /^((packages|services)\/[^/]+|tools)\//.exec(file)?.[1] ?? file))];
  const result = await cruiseTree(root, packages);
  const seen = new Set(result.modules.map((module) => module.source));
  const findings = result.summary.violations.map((each) => {
    const cycle = each.cycle === undefined ? each.to : each.cycle.map((step) => step.name).join(" → ");
    return `${each.rule.name}: ${each.from} → ${cycle}`;
  });
  for (const each of packages)
    if (!(each in ALLOW_LIST)) findings.push(`unknown-package: ${each} has no row in tools/checks/allow-list.ts`);
  const missed = present.filter((file) => !seen.has(file));
  if (seen.size < MODULES_MIN) findings.push(`blind: only ${seen.size} modules were seen`);
  else for (const file of missed) findings.push(`blind: ${file} was not seen`);
  const imports = result.modules.reduce((sum, module) => sum + module.dependencies.length, 0);
  return { seen: `${present.length} modules, ${imports} imports`, findings: [...new Set(findings)] };
}

async function cruiseTree(root: string, packages: readonly string[]): Promise<ICruiseResult> {
  const { output } = await cruise(
    FOLDERS.filter((folder) => existsSync(join(root, folder))),
    {
      baseDir: root,
      doNotFollow: { path: "node_modules" },
      exclude: { path: "(^|/)(dist|coverage|\\.data)/" },
      // Types are knowledge as well: `import type` crosses a boundary like any other import.
      tsPreCompilationDeps: true,
      validate: true,
      ruleSet: { forbidden: rules(root, packages) },
    },
    {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".mjs", ".js"],
    },
  );
  if (typeof output === "string") throw new TypeError("dependency-cruiser answered with text");
  return output;
}

function rules(root: string, packages: readonly string[]): IForbiddenRuleType[] {
  return [
    ...Object.keys(ALLOW_LIST).flatMap(allowRules),
    ...OWNERS.map((owner): IForbiddenRuleType => ({
      name: `owner-of-${owner.name}`,
      severity: "error",
      from: { path: "^(packages|services|tools)/", pathNot: [...owner.files] },
      to: { path: owner.modules.map((module) => `(^|node_modules/)${module}(/|$)`) },
    })),
    ...packages.flatMap((each) => exportsRule(root, each)),
    ...GENERAL_RULES,
  ];
}

/** Three rules a row: its production code, its tests, its emulators. Each forbids whatever the row does not name. */
function allowRules(folder: string): IForbiddenRuleType[] {
  const row = ALLOW_LIST[folder] ?? { production: [] };
  const name = folder.replace("/", "-");
  const rule = (kind: string, from: IForbiddenRuleType["from"], allowed: readonly string[]): IForbiddenRuleType => ({
    name: `${name}-${kind}`,
    severity: "error",
    from,
    to: { path: OURS, pathNot: [folder, ...allowed].map(inside) },
  });
  const tests = `${inside(folder)}(.+\\.test\\.ts$|(test|bench|crash|src/testing)/)`;
  const emulators = row.emulators === undefined ? [] : [EMULATOR_SIDE];
  return [
    rule("may-not-import", { path: inside(folder), pathNot: [tests, ...emulators] }, row.production),
    rule("tests-may-not-import", { path: tests }, [...row.production, ...(row.tests ?? []), ...TEST_HARNESSES]),
    ...emulators.map((path) =>
      rule("emulators-may-not-import", { path, pathNot: tests }, [...row.production, ...(row.emulators ?? [])]),
    ),
  ];
}

/** Of another package only what its `exports` name. */
function exportsRule(root: string, folder: string): IForbiddenRuleType[] {
  const manifest = join(root, folder, "package.json");
  if (folder === "tools" || !existsSync(manifest)) return [];
  const { exports = {} } = JSON.parse(readFileSync(manifest, "utf8")) as { exports?: Record<string, string> };
  const targets = Object.values(exports).map((target) => inside(join(folder, target)));
  return [
    {
      name: `past-the-exports-of-${folder.replace("/", "-")}`,
      severity: "error",
      from: { path: OURS, pathNot: inside(folder) },
      to: { path: inside(folder), ...(targets.length > 0 ? { pathNot: targets } : {}) },
    },
  ];
}

const OURS = "^(packages|services|tools)/";

const GENERAL_RULES: readonly IForbiddenRuleType[] = [
  // Types of one package may know each other (a contract told in four files); running code may not go in circles.
  {
    name: "cycle",
    severity: "error",
    from: { path: OURS },
    to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
  },
  { name: "cannot-be-resolved", severity: "error", from: { path: OURS }, to: { couldNotResolve: true } },
  {
    name: "other-packages-by-name-only",
    severity: "error",
    from: { path: "^((?:packages|services)/[^/]+)/" },
    to: { path: OURS, pathNot: "^$1/", dependencyTypes: ["local"] },
  },
  {
    name: "production-imports-tests",
    severity: "error",
    from: { path: OURS, pathNot: TEST_SIDE },
    to: { path: TEST_SIDE },
  },
  {
    name: "connectors-import-each-other",
    severity: "error",
    from: { path: "^packages/connectors/src/([^/]+)/" },
    to: { path: "^packages/connectors/src/[^/]+/", pathNot: "^packages/connectors/src/$1/" },
  },
  {
    name: "connector-imports-an-emulator",
    severity: "error",
    from: { path: "^packages/connectors/", pathNot: [TEST_SIDE, EMULATOR_SIDE] },
    to: { path: EMULATOR_SIDE },
  },
];

/** A folder's files, or one file. */
function inside(path: string): string {
  const literal = path.replaceAll(".", "\\.");
  return /\.[a-z]+$/.test(path) ? `^${literal}$` : `^${literal}/`;
}
