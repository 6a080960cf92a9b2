/** Streams that one organisation may have open here at a time: each holds a socket, memory, and looks at the database. */
const PLACES = 500;

/** As many streams as an organisation may have at a time are open on this hub. */
export class TooManyStreams extends Error {
  readonly code = "too_many_streams";
  constructor(most: number) {
    super(`too_many_streams: ${most} streams of this organisation are open: close one, or come back later`);
  }
}

export interface StreamPlaces {
  /** @returns what gives the place back; a second call does nothing. @throws TooManyStreams. */
  take(organizationId: string): () => void;
}

export function createStreamPlaces(most = PLACES): StreamPlaces {
  const open = new Map<string, Set<symbol>>();
  return {
    take: (organizationId) => {
      const here = open.get(organizationId) ?? new Set<symbol>();
      if (here.size >= most) throw new TooManyStreams(most);
      const place = Symbol(organizationId);
      open.set(organizationId, here.add(place));
      return () => {
        here.delete(place);
        if (here.size === 0 && open.get(organizationId) === here) open.delete(organizationId);
      };
    },
  };
}
