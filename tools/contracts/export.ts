import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buf } from "./buf.ts";
import { BASELINE } from "./registry.ts";
import { readReleases } from "./releases.ts";

/** What an export says of itself, in `contracts.json`. */
export interface ExportedContracts {
  /** The newest release that the export holds; "" when there is none. */
  readonly version: string;
  /** True when the files hold more than that release: types and fields that may still change. */
  readonly unreleased: boolean;
}

/**
 * Writes the contracts as a folder that needs nothing of ours: `proto/` for code generators of any language,
 * `tributary.binpb`, the same as a FileDescriptorSet with all that it imports, for programs that decode without
 * generated code, `catalogue.json`, `asyncapi.json`, and `contracts.json`. Works without a network.
 * @param folder is made; one that holds anything is refused.
 * @throws Error for a person: the folder is not empty, or buf's words.
 */
export async function exportContracts(root: string, folder: string): Promise<ExportedContracts> {
  if (existsSync(folder) && readdirSync(folder).length > 0) throw new Error("the folder is not empty");
  mkdirSync(folder, { recursive: true });
  const failed = [
    ...(await buf(root, ["export", "proto", "-o", join(folder, "proto")])),
    ...(await buf(root, ["build", "-o", join(folder, "tributary.binpb")])),
  ];
  if (failed.length > 0) throw new Error(failed.join("\n"));
  cpSync(join(root, "packages/contracts/src/gen/catalogue.json"), join(folder, "catalogue.json"));
  cpSync(join(root, "docs/events/asyncapi.json"), join(folder, "asyncapi.json"));
  const exported = {
    version: readReleases(root).at(-1)?.version ?? "",
    unreleased: await isAheadOfBaseline(root),
  };
  writeFileSync(join(folder, "contracts.json"), `${JSON.stringify(exported, null, 2)}\n`);
  return exported;
}

async function isAheadOfBaseline(root: string): Promise<boolean> {
  const scratch = mkdtempSync(join(tmpdir(), "tributary-export-"));
  try {
    const image = join(scratch, "image.binpb");
    const failed = await buf(root, ["build", "--exclude-source-info", "-o", image]);
    if (failed.length > 0) throw new Error(failed.join("\n"));
    return !existsSync(join(root, BASELINE)) || !readFileSync(image).equals(readFileSync(join(root, BASELINE)));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
