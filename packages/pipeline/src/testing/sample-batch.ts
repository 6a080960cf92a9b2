import type { EventBatch } from "../append.ts";

/** Events made up for a test. Ids are unique; types take turns. */
export function sampleBatch(
  connectionId: string,
  count: number,
  options: { readonly organizationId?: string; readonly types?: readonly string[]; readonly bytes?: number } = {},
): EventBatch {
  const { organizationId = "acme", types = ["tributary.task.v1.TaskChanged"], bytes = 30 } = options;
  return {
    organizationId,
    connectionId,
    connector: "todoist",
    backfill: false,
    traceparent: "",
    events: Array.from({ length: count }, (_, index) => {
      const type = types[index % types.length] ?? "";
      return {
        id: crypto.randomUUID(),
        type,
        subject: `evt.v1.${organizationId}.todoist.task.${type.split(".").at(-1)?.toLowerCase()}`,
        objectKey: `task/${index}`,
        timeMs: 1_763_683_200_123 + index,
        payload: new Uint8Array(bytes).fill(index),
      };
    }),
  };
}
