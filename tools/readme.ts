import { repositoryRoot, textOf } from "./tree.ts";

/** A fenced block of README.md: what it is written in, and its text. */
export interface ReadmeBlock {
  readonly language: string;
  readonly text: string;
}

export const readme: string = textOf(repositoryRoot, "README.md") ?? "";

/** In the order of the page. A block that names no language is a drawing and is left out. */
export const readmeBlocks: readonly ReadmeBlock[] = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(
  ([, language = "", text = ""]) => ({ language, text }),
);

/** @throws Error when there is no such block: then the page no longer shows what a test is about. */
export function blockWith(language: string, part: string): string {
  const found = readmeBlocks.find((block) => block.language === language && block.text.includes(part));
  if (found === undefined) throw new Error(`README.md has no ${language} block with ${JSON.stringify(part)}`);
  return found.text;
}
