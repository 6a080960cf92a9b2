import type { FileRegistry } from "@bufbuild/protobuf";
import { createCommentReader } from "./comments.ts";
import { filesOf } from "./registry.ts";

/**
 * What buf's lint does not ask for: that a package is named `tributary.<domain>.v<n>`, as subjects and pages take for
 * granted, that one of its files says what it is about, and that no comment speaks to buf instead of to people.
 */
export function checkWords(now: FileRegistry): string[] {
  const comment = createCommentReader();
  const packages = Map.groupBy(
    [...now.files].filter((file) => !file.proto.package.startsWith("google.")),
    (file) => file.proto.package,
  );
  return [
    ...[...packages].flatMap(([name, files]) => {
      const place = `proto/${files[0]?.name ?? ""}.proto`;
      if (!/^tributary\.[a-z][a-z0-9_]*\.v[1-9]\d*$/.test(name))
        return [`${place}: the package "${name}" is not named tributary.<domain>.v<n>`];
      return files.some((file) => comment(file) !== "")
        ? []
        : [
            `${place}: no file of the package ${name} has a comment above its "package" line; the catalogue begins with it`,
          ];
    }),
    ...filesOf(now)
      .filter((file) => file.proto.sourceCodeInfo?.location.some((each) => /buf:lint:/.test(each.leadingComments)))
      .map(
        (file) =>
          `proto/${file.name}.proto: a comment says "buf:lint:"; it switches nothing off here, and people would read it`,
      ),
  ];
}
