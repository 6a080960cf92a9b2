import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Consumer, Road } from "@tributary/contracts";
import { randomBytes } from "node:crypto";

/** A name for a consumer that lives as long as its process. */
export const passingName = (): string => `listen-${randomBytes(4).toString("hex")}`;

const PASSING = /^listen-[0-9a-f]{8}$/;
const STRAY_MS = 24 * 3_600_000;

/**
 * Consumers that a `tributary listen` left which was killed: nobody knows their names, and each is a target of every replay,
 * which waits for it. Only what has not been seen for a day, for a hub that restarts takes nobody for connected.
 */
export const strayConsumers = (consumers: readonly Consumer[], now: Date): readonly string[] =>
  consumers
    .filter(({ name, road, connected, lastSeenAt, createdAt }) => {
      const seen = lastSeenAt ?? createdAt;
      if (road !== Road.HTTP || !PASSING.test(name) || connected) return false;
      return seen !== undefined && timestampMs(seen) < now.getTime() - STRAY_MS;
    })
    .map(({ name }) => name);
