import { eventTypes } from "@tributary/contracts";
import { describe, expect, it } from "vitest";
import { en } from "./en.ts";
import { type Language, speak } from "./language.ts";
import { pl } from "./pl.ts";
import { plural } from "./plural.ts";

const now = new Date("2026-11-21T12:00:00Z");

describe("plural", () => {
  it.each([
    [0, "0 zdarzeń"],
    [1, "1 zdarzenie"],
    [2, "2 zdarzenia"],
    [5, "5 zdarzeń"],
    [12, "12 zdarzeń"],
    [22, "22 zdarzenia"],
    [112, "112 zdarzeń"],
  ])("of %i events in Polish is %s", (n, form) => {
    expect(pl.strip.title(n)).toBe(`${form} w ciągu ostatnich 24 godzin`);
  });

  it.each([
    ["en", en, "en-GB"],
    ["pl", pl, "pl-PL"],
  ] as const)("has a form for every category of %s, in every counting sentence", (_language, words, locale) => {
    const rules = new Intl.PluralRules(locale);
    const samples = new Map<string, number>();
    for (let n = 0; n <= 1000; n++) samples.set(rules.select(n), n);
    samples.set(rules.select(1.5), 1.5);
    expect([...samples.keys()].toSorted()).toEqual([...rules.resolvedOptions().pluralCategories].toSorted());
    const counting = [
      words.connections.needsYou,
      words.connections.working,
      words.sentence.readingSome,
      words.strip.title,
      words.connect.keptDays,
      words.history.lead,
      words.disconnect.keptEvents,
      words.disconnect.deleteToo,
      (n: number) => words.shares.summary(1, n),
    ];
    for (const sentence of counting) for (const n of samples.values()) expect(sentence(n)).toMatch(/\d/);
  });

  it("refuses a number whose form the catalogue forgot", () => {
    expect(() => plural<"other">("pl")(1, { other: "#" })).toThrow(RangeError);
  });
});

describe("catalogues", () => {
  it("have words for every event that there is", () => {
    expect(Object.keys(en.events).toSorted()).toEqual([...eventTypes.keys()].toSorted());
  });

  it("translate every text: what stands the same in both is a name or a sign", () => {
    const same: string[] = [];
    const walk = (one: unknown, other: unknown, path: string): void => {
      if (typeof one === "string") {
        if (one === other) same.push(path);
      } else if (one !== null && typeof one === "object") {
        for (const [key, value] of Object.entries(one))
          walk(value, (other as Record<string, unknown>)[key], `${path}.${key}`);
      }
    };
    walk(en, pl, "");
    expect(same).toEqual([]);
  });
});

describe("times", () => {
  it.each<[Language, number, string]>([
    ["en", -3 * 60, "3 minutes ago"],
    ["pl", -3 * 60, "3 minuty temu"],
    ["pl", -5 * 60, "5 minut temu"],
    ["en", 4 * 60, "in 4 minutes"],
    ["pl", 4 * 60, "za 4 minuty"],
    ["en", -26 * 3600, "yesterday"],
    ["pl", -4 * 86400, "4 dni temu"],
    ["en", -12, "12 seconds ago"],
    ["en", 0, "now"],
  ])("in %s, %i seconds from now is %s", (language, seconds, said) => {
    expect(speak(language, now).ago(new Date(now.getTime() + seconds * 1000).toISOString())).toBe(said);
  });

  it("name their zone, and read as each language writes them", () => {
    expect(speak("en", now).instant("2026-11-19T08:05:00Z")).toBe("19 Nov 2026, 08:05 UTC");
    expect(speak("pl", now).instant("2026-11-19T08:05:00Z")).toBe("19 lis 2026, 08:05 UTC");
    expect([speak("en", now).every(300_000), speak("pl", now).every(300_000)]).toEqual(["5 minutes", "5 minut"]);
    expect([speak("en", now).number(12_345), speak("pl", now).number(12_345)]).toEqual(["12,345", "12\u00a0345"]);
  });
});
