import { commitBench } from "./commit-path.ts";

export default commitBench("changed", "embedded");
