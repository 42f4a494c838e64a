/** A model in the worker, with the interventions on it, and how both come back after their machine was lost. */
import type { LoadOptions, SequencePersona, WebEngine } from "../wasm/webreft.js";
import { WebReftError } from "./error.js";
import { pause } from "./pause.js";
import type { LoadProgress, ModelInfo, Recovery } from "./protocol.js";

/** A model that was loaded. */
export interface Opened {
  engine: WebEngine;
  info: ModelInfo;
}

/** Who hears of a loading, and may end it. */
export interface OpenListener {
  signal: AbortSignal;
  tell(progress: LoadProgress): void;
}

/** Loads the model, the first time and again. */
export type Open = (backend: LoadOptions["backend"], listener: OpenListener) => Promise<Opened>;

/** Does again what was done with interventions since their last snapshot. */
export type Redo = (engine: WebEngine, number: number) => Promise<unknown>;

/** Interventions as the page knows them. */
interface Held {
  /** The engine's number of them. */
  number: number;
  /** Makes them as they were when they were made first. */
  make(engine: WebEngine): number;
  /** What training has changed of them since, up to the last snapshot. */
  snapshot?: Uint8Array;
  /** What has changed them after it. */
  since: Redo[];
  /** When the last snapshot was taken, and how long that took. */
  pace: Pace;
}

/** Milliseconds between two snapshots at least. */
const EVERY = 10_000;
/** A snapshot takes no more than this share of the time. */
const SHARE = 0.01;

/** Says when the next snapshot is due: seldom enough to cost nothing, often enough that little is computed again. */
export class Pace {
  #last = performance.now();
  #took = 0;

  get isDue(): boolean {
    return performance.now() - this.#last >= Math.max(EVERY, this.#took / SHARE);
  }

  /** Takes a snapshot. */
  async take(snapshot: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const start = performance.now();
    const bytes = await snapshot();
    this.#last = performance.now();
    this.#took = this.#last - start;
    return bytes;
  }
}

/** Losses within so many milliseconds after which the GPU is taken again; one more, and it is given up. */
const MOST_LOSSES = 3;
const WITHIN = 120_000;
/** Milliseconds after each of them. */
const WAITS = [0, 1000, 4000];

/** A model that is used, and that is loaded again where its machine is lost. */
export class Session {
  readonly #open: Open;
  readonly #backend: LoadOptions["backend"];
  readonly #report: (recovery: Recovery) => void;
  readonly #refts = new Map<number, Held>();
  #engine: WebEngine | undefined;
  #nextReft = 0;
  /** Why the model is not there, where it is not. */
  #reason = "";
  /** When the machine was lost lately. */
  #losses: number[] = [];

  /** A model that was opened. `report` hears when its machine is lost, and when it is back. */
  constructor(opened: Opened, open: Open, backend: LoadOptions["backend"], report: (recovery: Recovery) => void) {
    this.#engine = opened.engine;
    this.#open = open;
    this.#backend = backend;
    this.#report = report;
  }

  /**
   * Works with the engine. If the machine is lost meanwhile, the model is loaded again, and the work is begun anew: it must
   * leave nothing behind that was not to be done twice.
   *
   * @throws {WebReftError} what the work throws; `device` where the machine is lost for good.
   */
  async run<Value>(signal: AbortSignal, work: (engine: WebEngine) => Value | Promise<Value>): Promise<Value> {
    for (;;) {
      const engine = await this.#ready(signal);
      try {
        return await work(engine);
      } catch (error) {
        if (!this.isLoss(error)) throw error;
      }
    }
  }

  /** Whether an error says that the machine was lost, so that the model has to be loaded again. */
  isLoss(error: unknown): boolean {
    const { kind, message = "" } = error as { kind?: unknown; message?: string };
    if (kind !== "device" || !this.#engine?.isBroken()) return false;
    this.#reason = message;
    return this.#engine.isLost();
  }

  /** Forgets the engine, whose wasm instance trapped. */
  drop(reason: string): void {
    this.#engine = undefined;
    this.#reason = reason;
  }

  /** Holds interventions, which `make` makes now and after each loss; returns the page's number of them. */
  async hold(signal: AbortSignal, make: (engine: WebEngine) => number): Promise<number> {
    const number = await this.run(signal, make);
    const reft = this.#nextReft++;
    this.#refts.set(reft, { number, make, since: [], pace: new Pace() });
    return reft;
  }

  /** The engine's number of interventions. */
  number(reft: number): number {
    return this.#held(reft).number;
  }

  /** Who edits a text, by the engine's numbers. */
  numbered(personas: SequencePersona[]): SequencePersona[] {
    return personas.map((persona) => ({ ...persona, reft: this.number(persona.reft) }));
  }

  /** Notes what has changed interventions, and takes a snapshot of them where one is due. */
  async changed(reft: number, redo: Redo, isDue = false): Promise<void> {
    const held = this.#held(reft);
    held.since.push(redo);
    if (!isDue && !held.pace.isDue) return;
    const engine = this.#engine;
    try {
      if (!engine) return;
      held.snapshot = await held.pace.take(() => engine.snapshot(held.number));
      held.since = [];
    } catch (error) {
      if (!this.isLoss(error)) throw error; // else it is done again when the model is back
    }
  }

  /** Lets go of interventions. */
  remove(reft: number): void {
    const held = this.#refts.get(reft);
    this.#refts.delete(reft);
    if (held) this.#engine?.removeReft(held.number);
  }

  #held(reft: number): Held {
    const held = this.#refts.get(reft);
    if (!held) throw new WebReftError("input", "these interventions were disposed");
    return held;
  }

  /** The engine, on a machine that is there. */
  async #ready(signal: AbortSignal): Promise<WebEngine> {
    if (this.#engine && !this.#engine.isBroken()) return this.#engine;
    if (this.#engine?.isLost()) this.#losses.push(performance.now());
    this.#engine?.free();
    this.#engine = undefined;
    this.#report({ state: "lost", reason: this.#reason });
    try {
      return await this.#bringBack(signal);
    } catch (error) {
      this.#report({ state: "failed" });
      throw error;
    }
  }

  /** Loads the model with all of its interventions. */
  async #bringBack(signal: AbortSignal): Promise<WebEngine> {
    for (;;) {
      const { engine, info } = await this.#again(signal);
      try {
        for (const held of this.#refts.values()) await bring(held, engine);
        this.#engine = engine;
        this.#report({ state: "back", info });
        return engine;
      } catch (error) {
        const isLost = engine.isLost();
        engine.free();
        if (!isLost) throw error;
        this.#losses.push(performance.now());
      }
    }
  }

  /** Loads the model again: on the GPU, until it was lost too often. */
  async #again(signal: AbortSignal): Promise<Opened> {
    for (;;) {
      const now = performance.now();
      this.#losses = this.#losses.filter((at) => now - at < WITHIN);
      const isGivenUp = this.#losses.length > MOST_LOSSES;
      if (isGivenUp && this.#backend === "gpu") throw givenUp(this.#reason);
      await pause(isGivenUp ? 0 : (WAITS[this.#losses.length - 1] ?? 0), signal);
      const tell = (progress: LoadProgress) => this.#report({ state: "loading", progress });
      try {
        const opened = await this.#open(isGivenUp ? "cpu" : this.#backend, { signal, tell });
        if (isGivenUp) opened.info.warnings.push(`The CPU computes: ${lostOften(this.#reason)}`);
        return opened;
      } catch (error) {
        if ((error as { kind?: unknown }).kind !== "device" || isGivenUp) throw error;
        this.#reason = (error as Error).message;
        this.#losses.push(performance.now());
      }
    }
  }
}

/** Makes interventions on an engine that has none, as they are. */
async function bring(held: Held, engine: WebEngine): Promise<void> {
  held.number = held.make(engine);
  if (held.snapshot) engine.restore(held.number, held.snapshot);
  for (const redo of held.since) await redo(engine, held.number);
}

function lostOften(reason: string): string {
  return `the GPU failed ${MOST_LOSSES + 1} times within ${WITHIN / 60_000} minutes: ${reason}`;
}

function givenUp(reason: string): WebReftError {
  const advice = 'restart the browser, or load the model with backend "cpu"';
  return new WebReftError("device", `${lostOften(reason)}; ${advice}`);
}
