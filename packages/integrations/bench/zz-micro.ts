import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { TaskChangedSchema, eventTokens, eventId, eventSubject } from "@tributary/contracts";
import { hash, createHash } from "node:crypto";
import * as path from "./commit-path.ts";
const { batchesOf } = path as any;
const signals = batchesOf(1).flat();
const payloads = signals.map((s: any) => toBinary(s.schema, s.message));
console.log("bytes", payloads[0].length);
const conn = "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e8f";
function t(name: string, f: (s: any, i: number) => any) {
  let best = 1e9;
  for (let r = 0; r < 5; r++) { const s = performance.now(); for (let i = 0; i < signals.length; i++) f(signals[i], i); best = Math.min(best, performance.now() - s); }
  console.log(name, (best * 1000 / signals.length).toFixed(2), "us");
}
t("tokens", (s) => eventTokens(s.schema));
t("subject", (s) => eventSubject(s.schema, "acme", "todoist"));
t("toBinary", (s) => toBinary(s.schema, s.message));
t("toBinary nounk", (s) => toBinary(s.schema, s.message, { writeUnknownFields: false }));
t("hash buffer", (_, i) => hash("sha256", payloads[i], "buffer"));
t("hash hex", (_, i) => hash("sha256", payloads[i], "hex"));
t("hash hex of small string", (_, i) => hash("sha256", `${conn}\ntask/${i}`, "hex"));
t("hash base64url small string", (_, i) => hash("sha256", `${conn}\ntask/${i}`, "base64url"));
t("hash buffer small string", (_, i) => hash("sha256", `${conn}\ntask/${i}`, "buffer"));
t("eventId", (s, i) => eventId(conn, "tributary.task.v1.TaskChanged", s.id, "1"));
t("createHash", (_, i) => createHash("sha256").update(payloads[i]).digest());
