import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export interface Asset {
  readonly type: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

export interface Assets {
  /** By path. A path holds the hash of what it leads to, so it may be cached for ever. */
  readonly files: ReadonlyMap<string, Asset>;
  readonly stylesheet: string;
  readonly icon: string;
  /** The one font that every page needs at once. */
  readonly preload: string;
}

/** Latin and Latin Extended alone, which is what English and Polish need: 71 kB in three files, read when first needed. */
const FONTS = {
  "next-latin":
    "@fontsource-variable/atkinson-hyperlegible-next/files/atkinson-hyperlegible-next-latin-wght-normal.woff2",
  "next-latin-ext":
    "@fontsource-variable/atkinson-hyperlegible-next/files/atkinson-hyperlegible-next-latin-ext-wght-normal.woff2",
  "mono-latin":
    "@fontsource-variable/atkinson-hyperlegible-mono/files/atkinson-hyperlegible-mono-latin-wght-normal.woff2",
} as const;

/** In the order of the cascade; one file on the wire. */
const STYLES = ["1-ground", "2-connection", "3-pages"];

/** Two streams that become one; petrol, which is legible on light and dark tabs. */
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g fill="none" stroke="#1d8594" stroke-width="4"><path d="M2 6c10 0 10 10 16 10M2 26c10 0 10-10 16-10M17 16h8"/></g><circle cx="26" cy="16" r="5" fill="#1d8594"/></svg>`;

/** Reads stylesheet and fonts once. */
export function loadAssets(): Assets {
  const { resolve } = createRequire(import.meta.url);
  const files = new Map<string, Asset>();
  const add = (name: string, type: string, body: Uint8Array<ArrayBuffer>): string => {
    const path = `/assets/${hash("sha256", body, "hex").slice(0, 12)}-${name}`;
    files.set(path, { type, body });
    return path;
  };
  const fonts = Object.fromEntries(
    Object.entries(FONTS).map(([name, module]) => [
      name,
      add(`${name}.woff2`, "font/woff2", Uint8Array.from(readFileSync(resolve(module)))),
    ]),
  );
  const css = STYLES.map((name) => readFileSync(new URL(`./styles/${name}.css`, import.meta.url), "utf8"))
    .join("")
    .replaceAll(/\/\*[^]*?\*\//g, "")
    .replaceAll(/\n\s*/g, "\n")
    .replaceAll(/font:([\w-]+)/g, (_match, name: string) => fonts[name] ?? "");
  const stylesheet = add("pages.css", "text/css; charset=utf-8", Uint8Array.from(Buffer.from(css)));
  const icon = add("icon.svg", "image/svg+xml", Uint8Array.from(Buffer.from(ICON)));
  return { files, stylesheet, icon, preload: fonts["next-latin"] ?? "" };
}
