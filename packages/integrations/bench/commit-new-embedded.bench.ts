import { commitBench } from "./commit-path.ts";

export default commitBench("new", "embedded");
