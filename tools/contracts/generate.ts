import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { FileRegistry } from "@bufbuild/protobuf";
import { byText } from "../tree.ts";
import { asyncApi } from "./asyncapi.ts";
import { buf } from "./buf.ts";
import { type Catalogue, readCatalogue } from "./catalogue.ts";
import { readExamples } from "./examples.ts";
import { markdownPages } from "./markdown.ts";
import { registryOf } from "./registry.ts";
import { firstReleases, readReleases } from "./releases.ts";

/** The folders that belong to the generator alone; whatever else lies in one is deleted. */
const GENERATED = ["packages/contracts/src/gen", "docs/events"] as const;

/**
 * Brings what follows from `proto/` up to date: the code, and the event catalogue as code, JSON, AsyncAPI and pages. A
 * file that is right already is not touched.
 * @returns the files that were written or deleted.
 * @throws Error in buf's words, when the contracts do not compile.
 */
export async function generateContracts(root: string): Promise<readonly string[]> {
  const scratch = mkdtempSync(join(tmpdir(), "tributary-generate-"));
  try {
    const image = join(scratch, "image.binpb");
    const failed = [...(await buf(root, ["build", "-o", image])), ...(await generateCode(root, scratch))];
    if (failed.length > 0) throw new Error(failed.join("\n"));
    const wanted = generatedFiles(root, scratch, registryOf(readFileSync(image)));
    const different = differences(root, wanted);
    for (const name of different) {
      const content = wanted.get(name);
      const file = join(root, name);
      if (content === undefined) rmSync(file);
      else {
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, content);
      }
    }
    return different;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What `npm run generate` would change, as findings. */
export async function checkGenerated(root: string, scratch: string, registry: FileRegistry): Promise<string[]> {
  const failed = await generateCode(root, scratch);
  if (failed.length > 0) return failed;
  return differences(root, generatedFiles(root, scratch, registry)).map(
    (name) => `${name}: not what proto/ says; "npm run generate" writes it`,
  );
}

/** What the newest release and the examples add to the descriptors. */
export function catalogueOf(root: string, registry: FileRegistry): Catalogue {
  const releases = readReleases(root);
  return readCatalogue(registry, {
    version: releases.at(-1)?.version ?? "",
    since: firstReleases(releases),
    examples: readExamples(root).examples,
  });
}

/** Into a folder of its own, so that a check never changes the checkout. */
const generateCode = (root: string, scratch: string): Promise<string[]> => buf(root, ["generate", "-o", scratch]);

/** Everything that ought to be in the generator's folders, by path. */
function generatedFiles(root: string, scratch: string, registry: FileRegistry): ReadonlyMap<string, string> {
  const [code, pages] = GENERATED;
  const catalogue = catalogueOf(root, registry);
  const json = JSON.stringify(catalogue, null, 2);
  return new Map([
    ...treeOf(scratch, code),
    [`${code}/catalogue.json`, `${json}\n`],
    [`${code}/catalogue.ts`, catalogueCode(json)],
    [`${pages}/asyncapi.json`, `${JSON.stringify(asyncApi(catalogue), null, 2)}\n`],
    ...[...markdownPages(catalogue)].map(([name, text]): [string, string] => [`${pages}/${name}`, text]),
  ]);
}

const catalogueCode = (json: string): string =>
  `// Written by "npm run generate" from proto/.\nimport type { EventCatalogue } from "../catalogue.ts";\n\n/** Every event type of these contracts. */\nexport const eventCatalogue: EventCatalogue = ${json};\n`;

function differences(root: string, wanted: ReadonlyMap<string, string>): string[] {
  const present = new Map(GENERATED.flatMap((folder) => [...treeOf(root, folder)]));
  return [...new Set([...wanted.keys(), ...present.keys()])]
    .filter((name) => wanted.get(name) !== present.get(name))
    .toSorted(byText);
}

/** The files below a folder, with their paths from the root. */
function treeOf(root: string, folder: string): Map<string, string> {
  const path = join(root, folder);
  if (!existsSync(path)) return new Map();
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map((entry) => {
      const file = join(entry.parentPath, entry.name);
      return [`${folder}${file.slice(path.length)}`, readFileSync(file, "utf8")];
    }),
  );
}
