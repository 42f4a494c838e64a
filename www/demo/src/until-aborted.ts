/** A training that may be aborted, which is no error. */
import { type TrainStep, WebReftError } from "webreft";

/** Hears of all steps until the training is at its end, or aborted; tells whether it was. */
export async function untilAborted(steps: AsyncIterable<TrainStep>, hear: (step: TrainStep) => void): Promise<boolean> {
  try {
    for await (const step of steps) hear(step);
    return false;
  } catch (error) {
    if (error instanceof WebReftError && error.kind === "aborted") return true;
    throw error;
  }
}
