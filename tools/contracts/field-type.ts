import { type DescEnum, type DescExtension, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** What a field holds, as a `.proto` file says it: "string", "repeated tributary.task.v1.Task", "map<string, int32>". */
export function fieldType(field: DescField | DescExtension): string {
  if (field.fieldKind === "map") return `map<${scalarName(field.mapKey)}, ${elementType(field)}>`;
  return `${field.fieldKind === "list" ? "repeated " : ""}${elementType(field)}`;
}

/** The same without "repeated" and without a map's key. */
export function elementType(field: DescField | DescExtension): string {
  const named: DescMessage | DescEnum | undefined = field.message ?? field.enum;
  return named?.typeName ?? scalarName(field.scalar ?? ScalarType.STRING);
}

export const scalarName = (type: ScalarType): string => ScalarType[type].toLowerCase();
