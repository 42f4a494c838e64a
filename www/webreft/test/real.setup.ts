/** Where the real model is that `real.browser.test.ts` runs: `cargo xtask test` fetches it and names it. */
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    smollm2: string;
  }
}

export default function setup({ provide }: TestProject) {
  const path = process.env.WEBREFT_SMOLLM2;
  if (!path) throw new Error("WEBREFT_SMOLLM2 names no model: `cargo xtask models` prints what to set");
  provide("smollm2", path);
}
