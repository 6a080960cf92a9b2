import type { FileRegistry } from "@bufbuild/protobuf";
import { buf } from "./buf.ts";
import { createWhoIsHurt } from "./harm.ts";
import { BASELINE } from "./registry.ts";

/** A line of `buf breaking --error-format=json`. A file that is gone has no path. */
interface BufFinding {
  readonly path?: string;
  readonly start_line?: number;
  readonly type: string;
  readonly message: string;
}

/**
 * What buf's breaking rules say against the last release. Each finding says where it is, what is wrong, whom it hurts
 * and what to do instead.
 */
export async function checkBreaking(root: string, released: FileRegistry | undefined): Promise<string[]> {
  if (released === undefined)
    return [
      `${BASELINE}: missing, or no image of contracts, so that nothing can be compared. "git restore ${BASELINE}" brings it back`,
    ];
  const lines = await buf(root, ["breaking", "--against", BASELINE, "--error-format=json"]);
  const whoIsHurt = createWhoIsHurt(released);
  return lines.map((line) => {
    const finding = parse(line);
    if (finding === undefined) return line;
    const { type, message, start_line: row } = finding;
    const file = finding.path ?? `proto/${/file "([^"]+)"/.exec(message)?.[1] ?? ""}`;
    const [, name] = /(?:on|present) (?:message|enum|service|oneof "[^"]+" on message) "([^"]+)"/.exec(message) ?? [];
    const place = finding.path === undefined || row === undefined ? file : `${file}:${row}`;
    const who = whoIsHurt(file.replace(/^proto\//, ""), name);
    return `${place}: ${message.replace(/"q /, '" ')} Breaks ${who}. ${adviceFor(type)} [${type}]`;
  });
}

/** buf's own failures are no JSON, and are told as they are. */
function parse(line: string): BufFinding | undefined {
  try {
    return JSON.parse(line) as BufFinding;
  } catch {
    return undefined;
  }
}

/** By the name of buf's rule, the first that fits. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^RESERVED/, "Put it back: what is reserved stays so for ever."],
  [/^FILE|^PACKAGE/, "Put it back where it was; what is to live elsewhere is a new package, v2, beside it."],
  [/NO_DELETE/, "Put it back; mark it deprecated when nobody should begin with it."],
  [/SAME_(JSON_)?NAME$/, "Give it its name back; a better word belongs into its comment."],
  [/^RPC/, "Take the change back; add a new method beside it."],
  [/^FIELD|^ENUM|^MESSAGE/, "Take the change back; add a new field or message beside it."],
];

const adviceFor = (rule: string): string =>
  ADVICE.find(([pattern]) => pattern.test(rule))?.[1] ?? "Take the change back, or make a new package, v2, beside it.";
