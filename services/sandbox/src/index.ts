export * from "./identity-provider.ts";
export * from "./providers.ts";
