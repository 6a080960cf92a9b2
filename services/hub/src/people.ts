import {
  type AdminLinkOptions,
  type AppendAudit,
  createPeople,
  makeAdminLink,
  makeFirstAdminLink,
  type People,
} from "@tributary/auth";
import type { Database } from "@tributary/db";
import { appendAudit } from "@tributary/vault";
import { randomUUID } from "node:crypto";
import type { Config } from "./config.ts";

/** Organisations and their people, recorded in the vault's audit. */
export const openPeople = (config: Config, database: Database): People =>
  createPeople({ database, origin: config.publicOrigin, audit: auditPeople, now: () => new Date(), uuid: randomUUID });

/** In the transaction that changes something, so that neither is there without the other. */
export const auditPeople: AppendAudit = (tx, { userId, ...entry }) =>
  appendAudit(tx, { ...entry, ...(userId === undefined ? {} : { owner: { kind: "user", id: userId } }) });

/**
 * The way in for the first administrator, when nobody is one and none was ever made. With simulated providers nobody
 * needs it: the sample person is the first to arrive. @returns what to show the operator, once.
 */
export const firstAdminLink = async (config: Config, database: Database): Promise<string | undefined> =>
  config.oidc === undefined ? undefined : makeFirstAdminLink(linkOptions(config, database));

/** Another one, for an operator who lost the first or for an administrator who is locked out. Earlier ones end. */
export const anotherAdminLink = (config: Config, database: Database): Promise<string> =>
  makeAdminLink(linkOptions(config, database));

/** Where people land who belong there. */
export const organizationOf = (config: Config): AdminLinkOptions["organization"] => ({
  id: config.organizationId,
  name: config.sandbox === undefined ? config.organizationId : "Sample Organisation",
});

const linkOptions = (config: Config, database: Database): AdminLinkOptions => ({
  database,
  origin: config.publicOrigin,
  organization: organizationOf(config),
  audit: auditPeople,
  now: () => new Date(),
});
