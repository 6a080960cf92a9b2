import type { SandboxClock } from "@tributary/sandbox";
import type { ItemFields, TodoistWorld } from "./emulator-world.ts";

type Sample = ItemFields & { readonly content: string; readonly project?: string; readonly completedDaysAgo?: number };

/** A plainly fictional person's tasks. */
const SAMPLES: readonly Sample[] = [
  { content: "Water the tomatoes", project: "Garden", due: { string: "every day at 18" }, labels: ["outside"] },
  { content: "Put the bins out", project: "Home", due: { string: "every monday" } },
  { content: "Renew the library card", priority: 2, due: { string: "tomorrow" }, labels: ["errand"] },
  { content: "Call the plumber about the sink", priority: 4, due: { string: "today at 9:30" }, labels: ["phone"] },
  { content: "Buy oat milk", labels: ["errand", "shop"] },
  { content: "Buy light bulbs", description: "E27, warm white, six of them", labels: ["errand", "shop"] },
  { content: "Book the dentist", priority: 3, labels: ["phone"] },
  { content: "Back up the photos", project: "Home", due: { string: "every month" } },
  { content: "Clean the coffee machine", project: "Home", due: { string: "every 3 days" } },
  { content: "Sort the tool shelf", project: "Home" },
  { content: "Write the quarterly report", project: "Work", priority: 4, due: { string: "tomorrow at 12" } },
  { content: "Review the draft of the handbook", project: "Work", priority: 3 },
  { content: "Prepare slides for the team meeting", project: "Work", priority: 3, due: { string: "tomorrow at 10" } },
  { content: "Answer the survey", project: "Work" },
  { content: "Order a new keyboard", project: "Work", labels: ["shop"] },
  { content: "Plan the summer holiday", description: "Somewhere with a lake", priority: 2 },
  { content: "Find the passport", priority: 3 },
  { content: "Repair the bicycle light", project: "Home", labels: ["outside"] },
  { content: "Plant garlic", project: "Garden", labels: ["outside"] },
  { content: "Prune the apple tree", project: "Garden", labels: ["outside"], priority: 2 },
  { content: "Read the chapter about rivers", labels: ["reading"] },
  { content: "Return the borrowed ladder", labels: ["errand"] },
  { content: "Cancel the trial subscription", priority: 4, due: { string: "today" } },
  { content: "Learn the second verse", labels: ["reading"] },
  {
    content: "Zażółć gęślą jaźń – sprawdź polskie znaki 🌊",
    description: "“Quotes” & <angle brackets> stay as they are",
  },
  { content: "Pay the water bill", project: "Home", completedDaysAgo: 1 },
  { content: "Send the postcard", labels: ["errand"], completedDaysAgo: 3 },
  { content: "Fix the garden gate", project: "Garden", priority: 2, completedDaysAgo: 12 },
  { content: "Submit the expenses", project: "Work", priority: 3, completedDaysAgo: 40 },
  { content: "Choose a paint colour", project: "Home", completedDaysAgo: 100 },
];

const DAY_MS = 86_400_000;

/** Fills an empty world. Completion times lie before the clock's now. */
export function seedWorld(world: TodoistWorld, clock: SandboxClock): void {
  const daysAgo = (days: number): Date => new Date(clock.now().getTime() - days * DAY_MS);
  for (const [index, { project, completedDaysAgo, ...fields }] of SAMPLES.entries()) {
    const place = world.projects.find(({ name }) => name === project);
    const at = daysAgo((completedDaysAgo ?? 0) + SAMPLES.length - index);
    const { id } = world.add({ ...fields, ...(place === undefined ? {} : { project_id: place.id }) }, at);
    if (completedDaysAgo !== undefined) world.complete(id, daysAgo(completedDaysAgo));
  }
}
