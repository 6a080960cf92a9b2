import type { ErrorCode } from "./errors.ts";

/** What a person is told of each code, where nothing more particular is known. */
export const errorSentences: Readonly<Record<ErrorCode, { readonly en: string; readonly pl: string }>> = {
  missing_authorization: { en: "Please sign in.", pl: "Zaloguj się." },
  invalid_token: { en: "Your session has ended. Sign in again.", pl: "Sesja wygasła. Zaloguj się ponownie." },
  insufficient_permissions: {
    en: "You may not do this. Ask an administrator.",
    pl: "Nie masz do tego uprawnień. Poproś administratora.",
  },
  org_scope_violation: { en: "You have no access to this organisation.", pl: "Nie masz dostępu do tej organizacji." },
  auth_unavailable: {
    en: "We cannot check who you are right now. Try again shortly.",
    pl: "Nie możemy teraz sprawdzić, kim jesteś. Spróbuj za chwilę.",
  },
  csrf_rejected: {
    en: "The request did not come from our own page. Reload it and try again.",
    pl: "Żądanie nie pochodzi z naszej strony. Odśwież ją i spróbuj ponownie.",
  },
  not_found: { en: "There is nothing here.", pl: "Tu niczego nie ma." },
  method_not_allowed: { en: "This cannot be done here.", pl: "Tego nie można tu zrobić." },
  conflict: { en: "It has changed meanwhile. Look again.", pl: "W międzyczasie coś się zmieniło. Spójrz jeszcze raz." },
  payload_too_large: { en: "That is too much at once.", pl: "To za dużo naraz." },
  unsupported_media_type: { en: "The content type is not one we read.", pl: "Nie odczytujemy treści tego typu." },
  malformed_body: { en: "We cannot read what was sent.", pl: "Nie potrafimy odczytać tego, co przysłano." },
  validation_failed: { en: "Something in it is not as it should be.", pl: "Coś w nim jest nie tak, jak powinno." },
  internal_error: { en: "Something went wrong on our side.", pl: "Coś poszło nie tak po naszej stronie." },
  invitation_ended: {
    en: "This invitation has ended. Ask for a new one.",
    pl: "To zaproszenie straciło ważność. Poproś o nowe.",
  },
  invitation_other_address: {
    en: "The invitation is for another address than the one you have signed in with.",
    pl: "To zaproszenie jest na inny adres niż ten, którym się zalogowano.",
  },
  last_administrator: {
    en: "Somebody has to manage the organisation. Let another member manage first.",
    pl: "Ktoś musi zarządzać organizacją. Najpierw przekaż to uprawnienie komuś innemu.",
  },
  permission_not_held: {
    en: "You can give and take only permissions that you have yourself.",
    pl: "Możesz nadawać i odbierać tylko te uprawnienia, które masz.",
  },
  limit_reached: { en: "There are too many already.", pl: "Jest już ich zbyt wiele." },
  other_account: {
    en: "That was another account. Nothing was changed.",
    pl: "To było inne konto. Niczego nie zmieniliśmy.",
  },
  scope_insufficient: {
    en: "A permission that this needs was not given.",
    pl: "Nie udzielono potrzebnego uprawnienia.",
  },
  oauth_state_invalid: {
    en: "This link has ended. Start again.",
    pl: "Ten odnośnik stracił ważność. Zacznij od nowa.",
  },
  oauth_session_mismatch: {
    en: "Finish in the browser in which you started.",
    pl: "Dokończ w przeglądarce, w której zaczęto.",
  },
  oauth_issuer_mismatch: {
    en: "The connection was refused, for your safety.",
    pl: "Odmówiliśmy połączenia dla Twojego bezpieczeństwa.",
  },
  oauth_denied: { en: "You said no. Nothing was stored.", pl: "Nie wyrażono zgody. Niczego nie zapisaliśmy." },
  oauth_provider_error: {
    en: "The provider refused to ask for your consent.",
    pl: "Dostawca odmówił zapytania o zgodę.",
  },
  oauth_exchange_rejected: {
    en: "The provider did not complete this. Start again.",
    pl: "Dostawca tego nie dokończył. Zacznij od nowa.",
  },
  oauth_client_invalid: {
    en: "The provider does not accept our client. An administrator has to correct it.",
    pl: "Dostawca nie przyjmuje naszego klienta. Musi to poprawić administrator.",
  },
  oauth_config_incomplete: {
    en: "Something that the provider needs, such as your company's name there, has to be entered first.",
    pl: "Najpierw trzeba wpisać to, czego wymaga dostawca, na przykład nazwę firmy w jego usłudze.",
  },
  reauth_required: {
    en: "The account has to be connected again. Your data is safe.",
    pl: "Konto trzeba połączyć ponownie. Dane są bezpieczne.",
  },
  credential_missing: {
    en: "There is no credential any more. Connect the account again.",
    pl: "Nie ma już danych dostępu. Połącz konto ponownie.",
  },
  provider_unavailable: {
    en: "The provider does not answer. Try again shortly.",
    pl: "Dostawca nie odpowiada. Spróbuj za chwilę.",
  },
  temporarily_unavailable: {
    en: "We cannot take this in right now. Try again shortly.",
    pl: "Nie możemy tego teraz przyjąć. Spróbuj za chwilę.",
  },
  unknown_action: { en: "The integration cannot do that.", pl: "Ta integracja tego nie potrafi." },
  action_rejected: { en: "The provider refused this.", pl: "Dostawca tego odmówił." },
  url_not_allowed: { en: "This address is not allowed.", pl: "Ten adres jest niedozwolony." },
  response_too_large: { en: "The provider's answer is too large.", pl: "Odpowiedź dostawcy jest za duża." },
  invalid_signature: { en: "The signature does not match.", pl: "Podpis się nie zgadza." },
  consumer_differs: {
    en: "A consumer of that name is set up otherwise. Nothing was changed.",
    pl: "Odbiorca o tej nazwie ma inne ustawienia. Niczego nie zmieniono.",
  },
  consumer_taken: {
    en: "Another subscriber of that name took over.",
    pl: "Inny subskrybent o tej nazwie przejął odbiór.",
  },
  consumer_unsupported: {
    en: "A consumer of that kind is not to be had here.",
    pl: "Taki odbiorca nie jest tu dostępny.",
  },
  no_consumers: { en: "There is no consumer yet.", pl: "Nie ma jeszcze żadnego odbiorcy." },
  too_many_replays: {
    en: "Enough replays are under way. Wait for one, or cancel it.",
    pl: "Trwa już dość powtórek. Poczekaj na koniec którejś albo ją anuluj.",
  },
  too_many_streams: {
    en: "Too many streams of events are open. Close one, or come back later.",
    pl: "Otwartych jest zbyt wiele strumieni zdarzeń. Zamknij jeden albo wróć później.",
  },
  credential_integrity_error: {
    en: "A stored credential is not what it should be. Connect the account again.",
    pl: "Zapisane dane dostępu nie są tym, czym powinny być. Połącz konto ponownie.",
  },
  audit_unavailable: {
    en: "The access could not be recorded, so nothing was opened. Try again shortly.",
    pl: "Nie udało się zapisać dostępu, więc niczego nie otwarto. Spróbuj za chwilę.",
  },
  secret_required: { en: "Enter the key.", pl: "Podaj klucz." },
  submission_refused: {
    en: "What was sent does not belong to a form that is open. Open the form again.",
    pl: "To, co przysłano, nie należy do otwartego formularza. Otwórz formularz ponownie.",
  },
  erasure_ledger_invalid: {
    en: "The record of what was erased cannot be read.",
    pl: "Nie można odczytać zapisu tego, co usunięto.",
  },
  key_missing: { en: "A key of the vault is missing.", pl: "Brakuje klucza skarbca." },
  key_invalid: { en: "A key of the vault is not the right one.", pl: "Klucz skarbca nie jest właściwy." },
  public_key_untrusted: {
    en: "A stored key was not signed by us. Nothing was written.",
    pl: "Zapisany klucz nie ma naszego podpisu. Niczego nie zapisaliśmy.",
  },
};
