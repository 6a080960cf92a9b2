import { basename } from "node:path";
import ts from "typescript";
import { isGenerated, textOf } from "../tree.ts";

/** A file that is longer than this is two files. */
const LINES_MAX = 400;

/** Statements of a function itself; the functions inside it count for themselves, so a factory may hold many. */
const FUNCTION_LINES_MAX = 70;

/** Words that say nothing about what a thing is. In connectors "item" is many a provider's own word. */
const EMPTY_WORDS = new Set(["manager", "managers", "helper", "helpers", "util", "utils", "utilities", "data2"]);
const EMPTY_OUTSIDE_CONNECTORS = new Set(["item", "items"]);
const SPEAKS_OF_PROVIDERS = /^(packages\/(connectors|sandbox)|services\/(sandbox|web))\//;

/**
 * What must not be in the repository because it is true on one machine only: registries (the lockfile holds no address)
 * and absolute paths below somebody's home or workspace.
 */
const MACHINE_BOUND: readonly (readonly [RegExp, string])[] = [
  [/\bregistry\.[a-z0-9-]+\.(?:com|org|net|io|dev|cn|local|internal)\b/i, "names a package registry"],
  [
    /\b(?:npmjs\.(?:org|com)|yarnpkg\.com|npmmirror\.com|jfrog\.io|npm\.pkg\.github\.com)\b/i,
    "names a package registry",
  ],
  [/\b(?:artifactor[y]|verdacci[o])\b/i, "names a package registry"],
  [/(?<![\w.~/-])\/(?:home|Users)\/(?!node\b|user\b)[\w.-]+\//, "holds an absolute path of one machine"],
  [/(?<![\w.~/-])\/(?:root|work)\/[\w.-]+/, "holds an absolute path of one machine"],
  [/\b[A-Z]:\\Users\\/, "holds an absolute path of one machine"],
];

const LEFT_OUT_OF_TESTS = /\.(?:skip|only|todo|skipIf|runIf)(?:\.each)?\(|\bx(?:it|describe)\(/;

/** The rules of this house that no linter knows; one finding a line: "file:line: what". */
export function checkHouseRules(root: string, files: readonly string[]): string[] {
  return files.flatMap((file) => {
    const text = textOf(root, file);
    if (text === undefined) return [];
    return [
      ...tooLong(file, text),
      ...emptyFileName(file),
      ...syntaxFindings(file, text),
      ...machineBound(file, text),
      ...leftOutTests(file, text),
    ];
  });
}

function tooLong(file: string, text: string): string[] {
  if (!/\.(ts|mjs|js|css|sql|proto|sh)$/.test(file) || isGenerated(file) || file.includes("/fixtures/")) return [];
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  return lines <= LINES_MAX ? [] : [`${file}: ${lines} lines; a file ends at ${LINES_MAX}`];
}

function emptyFileName(file: string): string[] {
  const name = basename(file);
  if (isGenerated(file)) return [];
  const word = wordsOf(name).find((candidate) => isEmptyWord(candidate, file));
  return word === undefined ? [] : [`${file}: "${word}" in a file's name says nothing`];
}

/** Names that this file declares (a library's are imported or accessed, not declared), and functions that go on and on. */
function syntaxFindings(file: string, text: string): string[] {
  if (!/\.(ts|mjs)$/.test(file) || isGenerated(file)) return [];
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1;
  const findings: string[] = [];
  const visit = (node: ts.Node): void => {
    const name = declaredName(node);
    const word = name === undefined ? undefined : wordsOf(name.text).find((each) => isEmptyWord(each, file));
    if (name !== undefined && word !== undefined)
      findings.push(`${file}:${lineOf(name.getStart())}: "${word}" in the name ${name.text} says nothing`);
    const lines = ts.isFunctionLike(node) && !file.endsWith(".test.ts") ? ownLines(node, lineOf) : 0;
    if (lines > FUNCTION_LINES_MAX)
      findings.push(
        `${file}:${lineOf(node.getStart())}: ${lines} lines of its own; a function ends at ${FUNCTION_LINES_MAX}`,
      );
    ts.forEachChild(node, visit);
  };
  visit(source);
  return findings;
}

/** Lines of a function without those of the functions inside it. */
function ownLines(node: ts.Node, lineOf: (position: number) => number): number {
  const linesOf = (each: ts.Node): number => lineOf(each.getEnd()) - lineOf(each.getStart()) + 1;
  let inner = 0;
  const visit = (child: ts.Node): void => {
    // The line that an inner function begins on belongs to the outer one.
    if (ts.isFunctionLike(child)) inner += linesOf(child) - 1;
    else ts.forEachChild(child, visit);
  };
  ts.forEachChild(node, visit);
  return linesOf(node) - inner;
}

function declaredName(node: ts.Node): ts.Identifier | undefined {
  const declares =
    ts.isVariableDeclaration(node) ||
    ts.isParameter(node) ||
    ts.isBindingElement(node) ||
    ts.isFunctionDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isPropertyDeclaration(node);
  if (!declares || node.name === undefined || !ts.isIdentifier(node.name)) return undefined;
  // `const { items } = response` takes a name that somebody else gave.
  if (ts.isBindingElement(node) && node.propertyName === undefined) return undefined;
  return node.name;
}

function isEmptyWord(word: string, file: string): boolean {
  return EMPTY_WORDS.has(word) || (EMPTY_OUTSIDE_CONNECTORS.has(word) && !SPEAKS_OF_PROVIDERS.test(file));
}

/** "retryAfterMs" → retry, after, ms; "JSON_util.test.ts" → json, util, test, ts. */
function wordsOf(name: string): string[] {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2")
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.toLowerCase());
}

function machineBound(file: string, text: string): string[] {
  return linesWhere(text, (line) => MACHINE_BOUND.find(([pattern]) => pattern.test(line))?.[1]).map(
    ([line, what]) => `${file}:${line}: ${what}`,
  );
}

function leftOutTests(file: string, text: string): string[] {
  if (!/\.test\.(ts|mjs)$/.test(file)) return [];
  return linesWhere(text, (line) => (LEFT_OUT_OF_TESTS.test(line) ? "a test is left out" : undefined)).map(
    ([line, what]) => `${file}:${line}: ${what}; delete it or let it run`,
  );
}

function linesWhere(text: string, judge: (line: string) => string | undefined): [number, string][] {
  return text.split("\n").flatMap((line, index): [number, string][] => {
    const what = judge(line);
    return what === undefined ? [] : [[index + 1, what]];
  });
}
