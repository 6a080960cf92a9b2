/** A due date as Todoist's API v1 has it. */
export interface EmulatedDue {
  readonly date: string;
  readonly timezone: string | null;
  readonly string: string;
  readonly lang: string;
  readonly is_recurring: boolean;
}

const DAY_MS = 86_400_000;
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/**
 * The few phrases of Todoist's date language that a demo needs: "today", "tomorrow", "YYYY-MM-DD", "every day",
 * "every 3 days", "every week", "every monday", "every month", each with an optional "at 9" or "at 9:30".
 * @param today the person's calendar day.
 * @returns undefined for what it does not understand.
 */
export function parseDue(words: string, today: string): EmulatedDue | undefined {
  const [, day = "", hour, minute = "00"] =
    /^(.+?)(?: at (\d{1,2})(?::(\d\d))?)?$/i.exec(words.trim().toLowerCase()) ?? [];
  if (Number(hour ?? 0) > 23 || Number(minute) > 59) return undefined;
  const time = hour === undefined ? "" : `T${hour.padStart(2, "0")}:${minute}:00`;
  const due = (date: string, is_recurring: boolean): EmulatedDue => ({
    date: `${date}${time}`,
    timezone: null,
    string: words,
    lang: "en",
    is_recurring,
  });
  if (day === "today") return due(today, false);
  if (day === "tomorrow") return due(plusDays(today, 1), false);
  if (/^\d{4}-\d\d-\d\d$/.test(day) && !Number.isNaN(Date.parse(day))) return due(day, false);
  if (stepOf(day) === undefined) return undefined;
  const weekday = WEEKDAYS.indexOf(day.slice("every ".length));
  return due(weekday < 0 ? today : nextWeekday(plusDays(today, -1), weekday), true);
}

/** Where a recurring due date moves to when the task is closed: its next occurrence after today. */
export function nextOccurrence(due: EmulatedDue, today: string): EmulatedDue {
  const step = stepOf(due.string.toLowerCase().replace(/ at .*$/, "")) ?? ((date: string) => plusDays(date, 1));
  let date = step(due.date.slice(0, 10));
  while (date <= today) date = step(date);
  return { ...due, date: date + due.date.slice(10) };
}

function stepOf(rule: string): ((date: string) => string) | undefined {
  const [, count = "1", unit = ""] = /^every (?:(\d{1,3}) )?([a-z]+?)s?$/.exec(rule) ?? [];
  const times = Math.max(1, Number(count));
  const weekday = WEEKDAYS.indexOf(rule.slice("every ".length));
  if (weekday >= 0) return (date) => nextWeekday(date, weekday);
  if (unit === "day") return (date) => plusDays(date, times);
  if (unit === "week") return (date) => plusDays(date, 7 * times);
  if (unit === "month") return (date) => plusMonths(date, times);
  return undefined;
}

const plusDays = (date: string, days: number): string =>
  new Date(Date.parse(date) + days * DAY_MS).toISOString().slice(0, 10);

function plusMonths(date: string, months: number): string {
  const [year = 0, month = 1, day = 1] = date.split("-").map(Number);
  const last = new Date(Date.UTC(year, month - 1 + months + 1, 0)).getUTCDate();
  return new Date(Date.UTC(year, month - 1 + months, Math.min(day, last))).toISOString().slice(0, 10);
}

function nextWeekday(after: string, weekday: number): string {
  const ahead = (weekday - new Date(after).getUTCDay() + 7) % 7;
  return plusDays(after, ahead === 0 ? 7 : ahead);
}
