import {
  brokerInbox,
  deadLetterSubject,
  durableName,
  EVENT_STREAM,
  REPLAY_STREAM,
  replaySubjectFilter,
} from "@tributary/contracts";

/** What one user of nats-server may publish and subscribe to. Whatever is not named is refused. */
export interface NatsPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/**
 * What an organisation's subscribers need on the broker, and nothing else: its own durable consumers, with filters that
 * lie within its own subjects, and its own dead letters.
 *
 * Consumers stand by name because a stream is shared: nats-server matches whole tokens, so "any consumer" would be
 * anybody's, and whoever may pull from a consumer reads what it hears. On the broker the names are those of
 * `durableName`, which say whose they are. Creating one takes the form of nats-server 2.9
 * that repeats name and filter in the subject, where the server holds the request to them. Nothing else of JetStream's
 * API is there: reading by sequence, purging, deleting and listing go past every filter.
 * @param consumers names as subscribers give them: a–z, 0–9 and hyphens. Other organisations may have the same.
 * @throws TypeError for a name that is none, or an organisation that is none.
 */
export function natsPermissions(organizationId: string, consumers: readonly string[]): NatsPermissions {
  const inbox = `${brokerInbox(organizationId)}.>`;
  const filters = [
    [EVENT_STREAM, `evt.v1.${organizationId}.>`],
    [EVENT_STREAM, `sys.v1.${organizationId}.>`],
    [REPLAY_STREAM, replaySubjectFilter(organizationId)],
  ] as const;
  const publish = consumers.flatMap((name) => {
    if (name.startsWith("_"))
      throw new TypeError("a consumer of every organisation is nobody's: it takes the hub's user");
    const durable = durableName(name, organizationId);
    return [
      ...filters.map(([stream, filter]) => `$JS.API.CONSUMER.CREATE.${stream}.${durable}.${filter}`),
      ...[EVENT_STREAM, REPLAY_STREAM].flatMap((stream) => [
        `$JS.API.CONSUMER.INFO.${stream}.${durable}`,
        `$JS.API.CONSUMER.DELETE.${stream}.${durable}`,
        `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`,
        `$JS.ACK.${stream}.${durable}.>`,
      ]),
      deadLetterSubject(name, organizationId),
    ];
  });
  return { publish, subscribe: [...filters.map(([, filter]) => filter), inbox] };
}

/** What the hub's relay needs: it makes the streams, is the only publisher of events, and serves replays. */
export const RELAY_PERMISSIONS: NatsPermissions = {
  publish: ["evt.v1.>", "sys.v1.>", "rpl.v1.>", "dlq.v1.>", "$JS.API.>", "$JS.ACK.>"],
  subscribe: ["_INBOX.>"],
};

export interface NatsOrganization {
  readonly organizationId: string;
  readonly consumers: readonly string[];
  /** The public half of an nkey ("U…"). Absent: a password, from the environment of nats-server. */
  readonly nkey?: string;
}

/**
 * The `authorization` block of nats-server's configuration: the hub's user and one for each organisation. It holds no
 * secret: passwords are names of environment variables, which nats-server reads at start and at each reload.
 * @throws TypeError when two would sign in by one name or one password: whoever has it would be both.
 */
export function natsConfig(organizations: readonly NatsOrganization[]): string {
  const taken = new Set([HUB_USER, HUB_PASSWORD]);
  for (const { organizationId, nkey } of organizations)
    for (const by of nkey === undefined ? [organizationId, passwordVariable(organizationId)] : [nkey]) {
      if (taken.has(by)) throw new TypeError(`two would sign in by ${by}: give "${organizationId}" an nkey of its own`);
      taken.add(by);
    }
  const users = organizations.map(({ organizationId, consumers, nkey }) => {
    if (nkey !== undefined && !/^U[A-Z2-7]{55}$/.test(nkey)) throw new TypeError("an nkey of a user begins with U");
    const who =
      nkey === undefined
        ? [`user: ${quoted(organizationId)}`, `password: $${passwordVariable(organizationId)}`]
        : [`nkey: ${nkey}`];
    return userBlock(who, natsPermissions(organizationId, consumers));
  });
  const hub = userBlock([`user: ${quoted(HUB_USER)}`, `password: $${HUB_PASSWORD}`], RELAY_PERMISSIONS);
  return ["authorization {", "  users: [", hub, ...users, "  ]", "}", ""].join("\n");
}

const HUB_USER = "tributary";
const HUB_PASSWORD = "TRIBUTARY_NATS_PASSWORD";

/** The environment variable of an organisation's password, as {@link natsConfig} names it. */
export const passwordVariable = (organizationId: string): string =>
  `${HUB_PASSWORD}_${organizationId.toUpperCase().replaceAll("-", "_")}`;

function userBlock(who: readonly string[], { publish, subscribe }: NatsPermissions): string {
  const list = (subjects: readonly string[]): string[] => subjects.map((subject) => `          ${quoted(subject)}`);
  return [
    "    {",
    ...who.map((line) => `      ${line}`),
    "      permissions: {",
    "        publish: [",
    ...list(publish),
    "        ]",
    "        subscribe: [",
    ...list(subscribe),
    "        ]",
    "      }",
    "    }",
  ].join("\n");
}

const quoted = (text: string): string => JSON.stringify(text);
