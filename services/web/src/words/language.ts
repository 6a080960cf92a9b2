import { en, type Words } from "./en.ts";
import { pl } from "./pl.ts";

export const languages = ["en", "pl"] as const;
export type Language = (typeof languages)[number];

/** Everything a page says, and how it says times and numbers. */
export interface Speech {
  readonly language: Language;
  readonly words: Words;
  /** "3 minutes ago", "in 2 hours". */
  ago(instant: string): string;
  /** "19 November 2026". */
  day(instant: string): string;
  /** "19 Nov 2026, 12:04 UTC": a page made on a server cannot know the reader's zone, so it names its own. */
  instant(instant: string): string;
  /** "12:04". */
  clock(instant: string): string;
  number(value: number): string;
  /** A duration, such as "5 minutes". */
  every(ms: number): string;
}

const catalogues: Readonly<Record<Language, Words>> = { en, pl };

export function speak(language: Language, now: Date): Speech {
  const locale = language === "en" ? "en-GB" : "pl-PL";
  const timeZone = "UTC";
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const day = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone });
  const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });
  const instant = new Intl.DateTimeFormat(locale, {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
    timeZone,
    timeZoneName: "short",
  });
  const count = new Intl.NumberFormat(locale, { useGrouping: "min2" });
  return {
    language,
    words: catalogues[language],
    ago: (at) => {
      const { unit, amount } = largestUnit(new Date(at).getTime() - now.getTime());
      return relative.format(amount, unit);
    },
    day: (at) => day.format(new Date(at)),
    instant: (at) => instant.format(new Date(at)),
    clock: (at) => clock.format(new Date(at)),
    number: (value) => count.format(value),
    every: (ms) => {
      const { unit, amount } = largestUnit(ms);
      return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(Math.abs(amount));
    },
  };
}

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;

function largestUnit(ms: number): { readonly unit: "day" | "hour" | "minute" | "second"; readonly amount: number } {
  for (const [unit, size] of UNITS) {
    if (Math.abs(ms) >= size) return { unit, amount: Math.trunc(ms / size) };
  }
  return { unit: "second", amount: Math.trunc(ms / 1000) };
}

/** What the address asks for, else what was chosen before, else what the browser prefers, else English. */
export function chooseLanguage(
  asked: string | undefined,
  chosen: string | undefined,
  acceptLanguage: string | undefined,
): Language {
  const known = (value: string | undefined): Language | undefined => languages.find((one) => one === value);
  return known(asked) ?? known(chosen) ?? preferred(acceptLanguage) ?? "en";
}

function preferred(acceptLanguage: string | undefined): Language | undefined {
  const ranges = (acceptLanguage ?? "")
    .slice(0, 500)
    .split(",")
    .map((part) => {
      const [tag = "", ...parameters] = part.trim().toLowerCase().split(";");
      const quality = parameters.map((one) => /^\s*q=([\d.]+)$/.exec(one)?.[1]).find((one) => one !== undefined);
      return { language: tag.split("-")[0], quality: quality === undefined ? 1 : Number(quality) };
    })
    .filter(({ quality }) => quality > 0)
    .toSorted((one, other) => other.quality - one.quality);
  for (const { language } of ranges) {
    const found = languages.find((one) => one === language);
    if (found !== undefined) return found;
  }
  return undefined;
}
