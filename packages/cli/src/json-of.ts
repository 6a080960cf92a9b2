import { type DescMessage, type JsonObject, type MessageShape, toJson } from "@bufbuild/protobuf";

/** What `--json` prints of an answer: a lag of 0 and an empty list are said, for a script cannot tell "none" from "untold". */
export const jsonOf = <Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): JsonObject =>
  toJson(schema, message, { alwaysEmitImplicit: true }) as JsonObject;
