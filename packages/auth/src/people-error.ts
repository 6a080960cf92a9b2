/** Why something was not done to people and organisations. Each is a code of the API's closed set. */
export type PeopleErrorCode =
  | "not_found"
  | "conflict"
  | "invitation_ended"
  | "invitation_other_address"
  | "last_administrator"
  | "permission_not_held"
  | "limit_reached";

export class PeopleError extends Error {
  override readonly name = "PeopleError";
  readonly code: PeopleErrorCode;
  constructor(code: PeopleErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
