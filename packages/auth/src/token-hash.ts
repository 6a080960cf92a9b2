import { hash, randomBytes } from "node:crypto";

/** What is stored of a token: 256 random bits need no salt, and a dump of hashes opens nothing. */
export const tokenHash = (token: string): string => hash("sha256", token, "hex");

/** 256 random bits, base64url. */
export const newToken = (): string => randomBytes(32).toString("base64url");

/** Whether it can be one of ours. */
export const isToken = (text: string): boolean => /^[A-Za-z0-9_-]{43}$/.test(text);
