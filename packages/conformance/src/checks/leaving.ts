import { asOwner, run } from "@tributary/db";
import { chores } from "@tributary/integrations";
import { type Check, must } from "../check.ts";
import { type Linked, link } from "../consent-road.ts";
import { read } from "../drive.ts";
import type { Stage } from "../stage.ts";

const SECRETS = `
SELECT (SELECT count(*) FROM vault.secret) + (SELECT count(*) FROM vault.credential_grant)
  + (SELECT count(*) FROM integrations.credential) AS count`;

const ADVICE = "declare `revocation` in the OAuth spec, or make `revoke` withdraw the consent";

/** Longer than the runtime waits before it asks a provider again. */
const RETRY_MS = 15 * 60_000;

const disconnect = (stage: Stage, { id, member }: Linked) =>
  stage.connections.disconnect(member.caller, id, { deleteEvents: false });

/** The receipt says so, the provider has ended the grant, and nothing secret is left. */
async function mustBeGone(stage: Stage, { id, member }: Linked, receiptId: string): Promise<void> {
  const { revocation } = await stage.connections.receipt(member.caller, receiptId);
  const expected = stage.connector.auth.revocation === undefined ? "unsupported" : "confirmed";
  must(revocation === expected, `the receipt says "${revocation}" instead of "${expected}"`, ADVICE);
  const live = stage.control.oauth?.tokens.live ?? 0;
  must(
    expected === "unsupported" || live === 0,
    `${live} access tokens still work at the provider after disconnecting`,
    ADVICE,
  );
  const [left] = await asOwner(stage.database, (tx) => run<{ count: bigint }>(tx, SECRETS));
  must(left?.count === 0n, `${left?.count ?? "?"} rows of the credential are left`, ADVICE);
  const { row } = await stage.connections.get(member.caller, id);
  must(row.state === "disconnected", `the connection is ${row.state}`, ADVICE);
}

const leaves: Check = {
  name: "disconnecting ends the tokens, deletes the secrets and gives one receipt",
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    const receipt = await disconnect(stage, linked);
    await mustBeGone(stage, linked, receipt.id);
    const again = await disconnect(stage, linked);
    must(again.id === receipt.id, "disconnecting twice gave two receipts", ADVICE);
  },
};

const twice: Check = {
  name: "revoking again, when the first answer was lost, is fine",
  exempt: ({ auth }) => (auth.revocation === undefined ? "consent can only be withdrawn by hand" : undefined),
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    stage.control.faults.add({ match: {}, reset: true, afterEffect: true });
    const receipt = await disconnect(stage, linked);
    must(
      receipt.revocation === "pending",
      `an answer that was lost counted as "${receipt.revocation}"`,
      "let the errors of `user.forget()` leave `revoke`",
    );
    stage.control.clock.advance(RETRY_MS);
    await chores(stage.runtime);
    await mustBeGone(stage, linked, receipt.id);
  },
};

export const leavingChecks: readonly Check[] = [leaves, twice];
