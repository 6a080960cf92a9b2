import type { DescMessage } from "@bufbuild/protobuf";
import type { EmulatorOptions, RunningEmulator } from "@tributary/sandbox";
import type { Json } from "@tributary/sdk";

/** The simulated provider that a connector is proven against; an entry of the connectors' list of emulators is one. */
export interface ConformanceEmulator<World> {
  /** The real origins that it stands in for. */
  readonly origins: readonly string[];
  start(options: EmulatorOptions): Promise<RunningEmulator<World>>;
}

/** What the kit cannot know of a provider: how a person behaves there. The author of a connector writes it. */
export interface ProviderAdapter<World> {
  /** The provider's id of the account that consents: what `finishOAuth` has to return. */
  readonly accountId: string;
  /** Adds an object that the connector reports. @returns its id, as in the connector's `signal(…, { id })`. */
  add(world: World): string;
  /** The event that adding one gives. */
  readonly added: DescMessage;
  /** What the person does to such an object afterwards, in this order. */
  readonly deeds: readonly Deed<World>[];
  /** The provider forgets every cursor that it has given out. Absent: its cursors never expire. */
  expireCursor?(world: World): void;
  /** One for each of the manifest's actions. */
  readonly actions?: readonly ActionProof<World>[];
}

export interface Deed<World> {
  /** "completing", "deleting": for the failure's message. */
  readonly name: string;
  does(world: World, id: string): void;
  /** The event that it gives. */
  readonly gives: DescMessage;
  /** The object is gone afterwards; the last deed should be one, where the provider can delete. */
  readonly deletes?: boolean;
}

export interface ActionProof<World> {
  /** Key of `manifest.actions`. */
  readonly type: string;
  /** Prepares what is acted on. @returns input that the provider accepts; something new at each call. */
  input(world: World): Json;
  /** How often the provider has done it for this very input. */
  effects(world: World, input: Json): number;
  /** Input of the manifest's shape that the provider refuses for good. */
  readonly refused?: Json;
}

/** An adapter on the world of one running emulator. */
export interface BoundAdapter extends Pick<ProviderAdapter<unknown>, "accountId" | "added"> {
  add(): string;
  readonly deeds: readonly (Omit<Deed<unknown>, "does"> & { does(id: string): void })[];
  readonly expireCursor: (() => void) | undefined;
  readonly actions: readonly (Pick<ActionProof<unknown>, "type" | "refused"> & {
    input(): Json;
    effects(input: Json): number;
  })[];
}

/** @param world asked for each time: a reset makes another. */
export function bindAdapter<World>(adapter: ProviderAdapter<World>, world: () => World): BoundAdapter {
  const { expireCursor } = adapter;
  return {
    accountId: adapter.accountId,
    added: adapter.added,
    add: () => adapter.add(world()),
    deeds: adapter.deeds.map((deed) => ({ ...deed, does: (id) => deed.does(world(), id) })),
    expireCursor: expireCursor === undefined ? undefined : () => expireCursor(world()),
    actions: (adapter.actions ?? []).map((proof) => ({
      ...proof,
      input: () => proof.input(world()),
      effects: (input) => proof.effects(world(), input),
    })),
  };
}
