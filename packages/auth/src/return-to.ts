/**
 * A path of our own to go to after signing in: plain segments, a plain query, a plain fragment. Everything else, such as
 * `//host`, `/\host`, dots, percent signs in the path, or a scheme, becomes "/". An alphabet rather than a parser,
 * because browsers and URL libraries disagree about what a strange path means.
 */
export const returnTo = (wanted: string | null | undefined): string =>
  wanted !== null && wanted !== undefined && wanted.length <= 512 && PLAIN_PATH.test(wanted) && !OURS.test(wanted)
    ? wanted
    : "/";

const PLAIN_PATH = /^\/(?:[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*)?(?:\?[A-Za-z0-9_=&.~-]*)?(?:#[A-Za-z0-9_-]*)?$/;
/** Going back to signing in would be a loop, and an API answers no person. */
const OURS = /^\/(?:auth|api|signin)(?:[/?#]|$)/;
