import { peopleEn } from "./people.en.ts";
import { plural } from "./plural.ts";

const count = plural<"one" | "other">("en-GB");

/** Each entry is a whole sentence, heading or label: none is put together from parts. */
export const en = {
  skip: "Skip to content",
  signOut: "Sign out",
  otherLanguage: "Polski",
  settings: "Language and colours",
  theme: { legend: "Colours", system: "As on this device", light: "Light", dark: "Dark" },
  sandbox: "Sandbox",
  sandboxHint: "This provider is simulated on this machine. No real account is involved.",
  you: "You",
  wire: (state: string, provider: string): string => `You and ${provider}: ${state}`,

  connections: {
    title: "Connected accounts",
    lead: "See what each account shares, fix one, or disconnect. Nothing here is ever sold or used for ads.",
    needsYou: (n: number): string => count(n, { one: "# account needs you", other: "# accounts need you" }),
    working: (n: number): string => count(n, { one: "# account is connected", other: "# accounts are connected" }),
    others: "Your accounts",
    ended: "Disconnected",
    add: "Add an account",
    empty: "Nothing is connected. You choose what each one shares, and can stop at any time.",
    cannotCheck: "We can't check right now. Nothing has changed.",
    cannotCheckHint: "Your accounts, as we last saw them:",
    reload: "Check again",
    linked: (provider: string): string => `${provider} is connected. First results in about a minute.`,
    linkedPartly: (provider: string): string =>
      `${provider} is connected with fewer permissions than we asked for. First results in about a minute.`,
  },

  state: {
    connected: "Connected",
    syncing: "Syncing",
    error: "Error",
    expired: "Credentials Expired",
    limited: "Limited",
    stale: "Stale",
    paused: "Paused",
    disconnected: "Disconnected",
  },
  sentence: {
    working: "Working.",
    waiting: "Waiting for the first event.",
    lastEvent: (ago: string): string => `Last event ${ago}.`,
    verified: (ago: string): string => `Verified ${ago}.`,
    reading: (read: string, total: string): string => `Reading ${read} of ${total}.`,
    readingSome: (n: number): string => count(n, { one: "Read # so far.", other: "Read # so far." }),
    readingStarts: "Reading starts now.",
    tryingAgain: (when: string): string => `Trying again ${when}. Nothing to do yet.`,
    tryingAgainSoon: "Trying again soon. Nothing to do yet.",
    expired: "Credentials expired. Your data is safe.",
    permissions: (given: number, asked: number): string => `You gave ${given} of ${asked} permissions.`,
    featureOff: (feature: string): string => `Off: ${feature}.`,
    stale: (ago: string): string => `The last sync was ${ago}.`,
    staleNever: "It has not synced for a while.",
    paused: (date: string): string => `Paused on ${date}. Nothing is read.`,
    pausedByYou: (date: string): string => `Paused by you on ${date}. Nothing is read.`,
    pausedBy: (who: string, date: string): string => `Paused by ${who} on ${date}. Nothing is read.`,
    disconnected: (date: string): string => `Disconnected on ${date}.`,
  },
  action: {
    stop: "Stop",
    retry: "Try now",
    reconnect: (provider: string): string => `Reconnect ${provider}`,
    choose: "Choose permissions again",
    syncNow: "Sync Now",
    resume: "Resume",
    pause: "Pause",
    connect: (provider: string): string => `Connect ${provider}`,
    connectAnother: "Connect another account",
    disconnect: "Disconnect…",
    history: "History",
    receipt: "Receipt",
    /** For those who hear a button without seeing its card. */
    of: (action: string, provider: string): string => `${action}: ${provider}`,
  },
  shares: {
    title: "What it shares",
    summary: (given: number, asked: number): string =>
      `${count(asked, { one: "We asked for # permission.", other: "We asked for # permissions." })} You gave ${given}.`,
    required: "required",
    optional: "optional",
    notGiven: "not given",
    usedBy: (organization: string): string => `Used by ${organization}.`,
  },
  strip: {
    title: (n: number): string =>
      count(n, { one: "# event in the last 24 hours", other: "# events in the last 24 hours" }),
    from: "24 h ago",
    to: "now",
    half: "Half hour from",
    events: "Events",
    leftOut: "Half hours without events are left out.",
  },

  connect: {
    title: (provider: string): string => `Connect ${provider}`,
    again: (provider: string): string => `Reconnect ${provider}`,
    lead: (provider: string): string =>
      `${provider} will ask you to confirm. Before you go, this is what you would agree to.`,
    reads: "What we ask for",
    changes: "What can be changed",
    changesNothing: "Nothing. We only read.",
    changesWhen: "Only when you ask for it.",
    often: "How often",
    oftenEvery: (duration: string): string => `Every ${duration}, and when the provider tells us of a change.`,
    oftenPush: "Only when the provider tells us of a change.",
    kept: "How long it is kept",
    keptDays: (days: number): string =>
      count(days, { one: "Each event is kept for # day.", other: "Each event is kept for # days." }),
    who: "Who uses it",
    whoOrganization: (organization: string): string => `${organization}, and nobody else.`,
    never: "What never happens",
    neverList: [
      "Your password is never seen by us: you type it at the provider alone.",
      "Nothing is sold, or used for ads.",
      "We ask for nothing beyond what stands here.",
    ],
    go: (provider: string): string => `Continue to ${provider}`,
    notNow: "Not now",
    about: (provider: string): string => `About ${provider}`,
  },
  outcome: {
    denied: { title: "You said no. Nothing was stored.", hint: "You can connect later, whenever you like." },
    ended: { title: "This link has ended. Start again.", hint: "It was older than 10 minutes, or used before." },
    otherAccount: {
      title: "That was another account. Nothing was changed.",
      hint: "Sign in with the account that was connected, or add the other one beside it.",
      same: "Try the same account again",
      add: "Add it as another account",
    },
    already: { title: "This account is already connected.", hint: "Nothing was changed.", see: "See your accounts" },
    partial: {
      title: "A required permission was left out. Nothing was stored.",
      hint: "Without the permissions marked “required” there is nothing we could do for you.",
    },
    error: { title: "The provider could not complete this. Nothing was stored.", hint: "Try again in a moment." },
    code: "Code",
    correlation: "Reference",
  },

  history: {
    title: (provider: string): string => `${provider}: history`,
    lead: (n: number): string =>
      count(n, {
        one: "# event has been read since you connected.",
        other: "# events have been read since you connected.",
      }),
    latest: "The latest 50",
    none: "Nothing has been read yet.",
    showTitles: "Show titles",
    hideTitles: "Hide titles",
    hidden: "Titles are hidden, in case somebody is looking over your shoulder.",
    download: "Download (JSON)",
    when: "When",
    what: "What happened",
    title_: "Title",
    number: "No.",
    back: "All accounts",
  },
  events: {
    "tributary.task.v1.TaskChanged": "A task was added or changed",
    "tributary.task.v1.TaskCompleted": "A task was completed",
    "tributary.task.v1.TaskReopened": "A task was reopened",
    "tributary.task.v1.TaskDeleted": "A task was deleted",
    "tributary.system.v1.ConnectionLinked": "The account was connected",
    "tributary.system.v1.ConnectionStateChanged": "The state of the connection changed",
    "tributary.system.v1.ConnectionDisconnected": "The account was disconnected",
  },
  otherEvent: (type: string): string => `Something changed (${type})`,

  disconnect: {
    title: (provider: string): string => `Disconnect ${provider}?`,
    removed: "Removed now",
    removedList: [
      "Our key to your account, here and at the provider",
      "Every plan to read from it again",
      "What we knew of it to tell old from new",
    ],
    kept: "Kept",
    keptEvents: (n: number): string =>
      count(n, {
        one: "# event that was already read, until it is 30 days old",
        other: "# events that were already read, until they are 30 days old",
      }),
    keptReceipt: "A receipt that says what was removed and when",
    deleteToo: (n: number): string =>
      count(n, { one: "Delete that # event as well", other: "Delete those # events as well" }),
    deleteHint: "This cannot be undone.",
    go: "Disconnect",
    cancel: "Keep it connected",
  },
  receipt: {
    title: "Receipt",
    lead: (provider: string): string => `${provider} was disconnected.`,
    account: "Account",
    at: "When",
    revocation: "The provider's answer",
    revocationOf: {
      confirmed: "Confirmed: our permission is withdrawn.",
      pending: "Not yet. Everything is deleted here; we keep asking for 24 hours.",
      unsupported: "This provider cannot be asked. Everything is deleted here.",
      given_up: "It did not answer for 24 hours. Everything is deleted here.",
    },
    byHand: (provider: string): string => `Withdraw it at ${provider} yourself`,
    secrets: "Keys deleted",
    eventsDeleted: "Events deleted",
    eventsKept: "Events kept",
    keptUntil: "Kept until",
    number: "Number",
    download: "Download (JSON)",
    print: "To keep a copy on paper, print this page.",
  },

  people: peopleEn,

  signIn: {
    title: "Sign in",
    lead: "Sign in to see what is connected, and to connect, pause or disconnect it.",
    go: "Sign in",
    outcome: {
      denied: "You said no. You are not signed in.",
      refused: "That sign-in had ended or was not yours. Please start again.",
      unavailable: "The sign-in service does not answer. Please try again in a moment.",
      "not-invited": "You are not a member here yet. Ask an administrator to invite you.",
      "link-ended": "This link has ended: it was used, replaced, or is too old. Ask for a new one.",
      "other-address":
        "The invitation is for another e-mail address, or your sign-in service has not confirmed yours. You are not signed in.",
      "signed-out": "You are signed out.",
    },
  },
  notFound: { title: "Not here", lead: "There is no such page, or it is not yours to see." },
  refused: { title: "That was not allowed", lead: "Nothing has changed." },
  broken: { title: "That did not work", lead: "We can't do this right now. Nothing has changed." },
};

/** Every catalogue has exactly these. */
export type Words = typeof en;
