/** Where the loading of a model stands, in words. */
import type { LoadProgress } from "webreft";
import { bytes } from "../format.js";

const PHASES: Record<LoadProgress["phase"], string> = {
  waiting: "Waiting for another tab that loads it",
  download: "Downloading",
  verify: "Comparing with what the Hub has",
  header: "Reading the header",
  weights: "Loading weights",
  compile: "Compiling kernels for the GPU",
  check: "Comparing the GPU with the CPU",
};

/** Phases that tell a share; the others count bytes. */
const SHARES: ReadonlySet<LoadProgress["phase"]> = new Set(["compile", "check"]);

/** What is being done. */
export function phaseOf({ phase }: LoadProgress): string {
  return PHASES[phase];
}

/** How much of it is done. */
export function amountOf({ phase, loaded, total }: LoadProgress): string {
  if (SHARES.has(phase)) return `${Math.round((100 * loaded) / total)} %`;
  return total ? `${bytes(loaded)} of ${bytes(total)}` : bytes(loaded);
}
