import type { DescEnum, DescEnumValue, DescField, DescFile, DescMessage } from "@bufbuild/protobuf";

type Described = DescFile | DescMessage | DescField | DescEnum | DescEnumValue;

/** Numbers of fields of descriptor.proto: a path alternates such a number and an index. */
const PACKAGE = 2;
const FILE_MESSAGE = 4;
const FILE_ENUM = 5;
const MESSAGE_FIELD = 2;
const MESSAGE_NESTED = 3;
const MESSAGE_ENUM = 4;
const ENUM_VALUE = 2;

/**
 * Reads the comment that stands above a definition, or above a file's `package` line, as one line of text; "" when
 * there is none, or when the image was built without source information. What a comment belongs to is told by paths
 * (`SourceCodeInfo.Location.path` in descriptor.proto).
 */
export function createCommentReader(): (described: Described) => string {
  const byFile = new Map<DescFile, ReadonlyMap<string, string>>();
  return (described) => {
    const file = described.kind === "file" ? described : fileOf(described);
    const known = byFile.get(file) ?? readComments(file);
    byFile.set(file, known);
    return known.get(pathOf(described).join(".")) ?? "";
  };
}

/** Where a definition stands, as an editor opens it: "proto/…/task.proto:12"; the file alone without source information. */
export function placeOf(described: Described): string {
  const file = described.kind === "file" ? described : fileOf(described);
  const path = pathOf(described).join(".");
  const line = file.proto.sourceCodeInfo?.location.find((each) => each.path.join(".") === path)?.span[0];
  // A span counts from 0.
  return `proto/${file.name}.proto${line === undefined ? "" : `:${line + 1}`}`;
}

function readComments(file: DescFile): ReadonlyMap<string, string> {
  const locations = file.proto.sourceCodeInfo?.location ?? [];
  return new Map(locations.map(({ path, leadingComments }) => [path.join("."), oneLine(leadingComments)]));
}

const oneLine = (comment: string): string => comment.replaceAll(/\s+/g, " ").trim();

function fileOf(described: Exclude<Described, DescFile>): DescFile {
  return described.kind === "field" || described.kind === "enum_value" ? described.parent.file : described.file;
}

function pathOf(described: Described): number[] {
  switch (described.kind) {
    case "file":
      return [PACKAGE];
    case "message": {
      const { parent, proto, file } = described;
      return parent === undefined
        ? [FILE_MESSAGE, file.proto.messageType.indexOf(proto)]
        : [...pathOf(parent), MESSAGE_NESTED, parent.proto.nestedType.indexOf(proto)];
    }
    case "enum": {
      const { parent, proto, file } = described;
      return parent === undefined
        ? [FILE_ENUM, file.proto.enumType.indexOf(proto)]
        : [...pathOf(parent), MESSAGE_ENUM, parent.proto.enumType.indexOf(proto)];
    }
    case "field":
      return [...pathOf(described.parent), MESSAGE_FIELD, described.parent.proto.field.indexOf(described.proto)];
    default:
      return [...pathOf(described.parent), ENUM_VALUE, described.parent.proto.value.indexOf(described.proto)];
  }
}
