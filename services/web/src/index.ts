export { type Api, apiOver } from "./api.ts";
export { createPages, type PagesOptions } from "./pages.ts";
