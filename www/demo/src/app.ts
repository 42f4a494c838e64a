/** What the page is doing: one model, one set of interventions, one thing at a time. */
import { type Machine, type Reft, type WebReft, WebReftError } from "webreft";
import type { Backend } from "./machine.js";

export type Activity = "idle" | "loading" | "training" | "comparing" | "answering" | "filing";

/** A trained or loaded set of interventions, as the page calls it. */
export interface Persona {
  reft: Reft;
  /** Where it comes from: `trained on 10 examples`, `pirate.safetensors`. */
  origin: string;
}

/** The state all views share. They listen to `change`; `trained` says that a new persona can be heard. */
export class App extends EventTarget {
  activity: Activity = "idle";
  model: WebReft | undefined;
  persona: Persona | undefined;
  problem: WebReftError | undefined;
  /** Tries again what ended in the problem, where that can succeed. */
  again: (() => Promise<void>) | undefined;
  /** Who is asked to compute. */
  backend: Backend = "auto";
  /** What the browser says who computes. */
  machine: Machine | undefined;

  /** Says that something about the state is new. */
  changed(type: "change" | "trained" = "change"): void {
    this.dispatchEvent(new Event(type));
  }

  on(type: "change" | "trained", listener: () => void): void {
    this.addEventListener(type, listener);
  }

  /** Runs one thing. What goes wrong is shown, once, in the same place; an abort is what the visitor wanted. */
  async run(activity: Activity, work: () => Promise<void>): Promise<void> {
    if (this.activity !== "idle") return;
    this.activity = activity;
    this.problem = this.again = undefined;
    this.changed();
    try {
      await work();
    } catch (error) {
      const problem = this.fail(error);
      if (mayEndModel(problem) && !(await this.#isThere())) await this.#letGo();
      const canAgain = problem.retryable && problem.kind !== "aborted" && (this.model || activity === "loading");
      if (canAgain) this.again = () => this.run(activity, work);
    } finally {
      this.activity = "idle";
      this.changed();
    }
  }

  /** Shows what went wrong. */
  fail(error: unknown): WebReftError {
    const problem = asProblem(error);
    if (problem.kind !== "aborted") this.problem = problem;
    this.changed();
    return problem;
  }

  /** Takes a new model in place of the old one, whose memory is given back. */
  async useModel(model: WebReft | undefined): Promise<void> {
    await this.#letGo();
    this.model = model;
  }

  /** Takes new interventions in place of the old ones. */
  async usePersona(persona: Persona | undefined): Promise<void> {
    const old = this.persona;
    this.persona = persona;
    if (old && old.reft !== persona?.reft) await old.reft.dispose();
  }

  /** Whether the model answers; one whose machine was lost is loaded again for it. */
  #isThere(): Promise<boolean> {
    return this.model
      ? this.model.memory().then(
          () => true,
          () => false,
        )
      : Promise.resolve(false);
  }

  async #letGo(): Promise<void> {
    await this.model?.dispose();
    this.model = undefined;
    this.persona = undefined;
  }
}

/** What was thrown, with a kind. What webreft did not throw is a bug. */
export function asProblem(error: unknown): WebReftError {
  return error instanceof WebReftError ? error : new WebReftError("bug", String(error), { cause: error });
}

/** Whether the model may be of no more use. */
export function mayEndModel({ kind }: WebReftError): boolean {
  return kind === "bug" || kind === "device";
}
