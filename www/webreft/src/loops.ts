/** Answers and trainings: calls that give one item after the other, and that go on where they were when their machine was lost. */
import type {
  Example,
  RunWatch,
  Sampling,
  Sequence,
  SequencePersona,
  SequencePiece,
  StepWatch,
  Training,
  WebEngine,
  WebGeneration,
  WebTraining,
} from "../wasm/webreft.js";
import { WebReftError } from "./error.js";
import type { Line, PrefillProgress, RunProgress, TrainNews, TrainStep } from "./protocol.js";
import { Pace, type Session } from "./session.js";

/** Who watches a run over texts for the page. */
export function runWatch({ tell, signal }: Pick<Line<never, RunProgress>, "tell" | "signal">): RunWatch {
  return { cancelled: () => signal.aborted, progress: (share) => tell({ share }) };
}

/** Who watches a training for the page. */
export function stepWatch({ tell, signal }: Pick<Line<never, TrainNews>, "tell" | "signal">): StepWatch {
  return { cancelled: () => signal.aborted, progress: (progress) => tell({ progress }) };
}

/** Watches what is done again: nobody hears of it, and it is not ended. */
const UNWATCHED: StepWatch = { cancelled: () => false, progress: () => {} };

/** Other interventions on an answer, from a token on. */
interface Switch {
  /** Tokens that it had by then. */
  after: number;
  personas: SequencePersona[];
}

/** The answers to one call. When their machine is lost, the same tokens are computed again, and only new ones are given out. */
export class Answers {
  readonly #session: Session;
  readonly #sequences: Sequence[];
  readonly #sampling: Sampling;
  /** The answers as the engine makes them. */
  #generation: WebGeneration | undefined;
  /** Tokens and switches take turns. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Tokens of each answer that were computed, and that were given out. */
  #made = 0;
  #given = 0;
  readonly #switches: Switch[] = [];
  /** Of the switches those that the engine's answers have had. */
  #switched = 0;

  constructor(session: Session, sequences: Sequence[], sampling: Sampling) {
    this.#session = session;
    this.#sequences = sequences;
    this.#sampling = sampling;
  }

  /** Gives out their tokens to the end. */
  run({ tell, emit, signal }: Line<SequencePiece, PrefillProgress>): Promise<void> {
    const watch = { cancelled: () => signal.aborted, progress: (share: number) => tell({ phase: "prefill", share }) };
    return this.#session.run(signal, async (engine) => {
      const numbered = this.#sequences.map((one) => ({ ...one, personas: this.#session.numbered(one.personas ?? []) }));
      const generation = await engine.generate(numbered, this.#sampling, watch);
      this.#generation = generation;
      this.#made = 0;
      this.#switched = 0;
      try {
        for (let pieces = await this.#next(generation); pieces; pieces = await this.#next(generation)) {
          if (this.#made <= this.#given) continue;
          this.#given = this.#made;
          for (const piece of pieces) await emit(piece);
        }
      } finally {
        this.#generation = undefined;
        await this.#turn;
        generation.free();
      }
    });
  }

  /**
   * From the next token on others edit the last answer.
   *
   * @throws {WebReftError} `input` before the first token is made, or for interventions that cannot be.
   */
  switch(personas: SequencePersona[]): Promise<void> {
    return this.#inTurn(async () => {
      const change = { after: Math.max(this.#made, this.#given), personas };
      if (!this.#generation && this.#given === 0) throw notAnswering();
      if (this.#generation && this.#made >= this.#given) {
        await this.#apply(this.#generation, change);
      }
      this.#switches.push(change);
    });
  }

  /** The next token of each, after the switches that came before it. */
  #next(generation: WebGeneration): Promise<SequencePiece[] | undefined> {
    return this.#inTurn(async () => {
      for (const change of this.#switches.slice(this.#switched)) {
        if (change.after <= this.#made) await this.#apply(generation, change);
      }
      const pieces = await generation.next();
      this.#made += 1;
      return pieces;
    });
  }

  /** A machine that is lost meanwhile is found out by the next token, and the switch is made again. */
  async #apply(generation: WebGeneration, { personas }: Switch): Promise<void> {
    this.#switched += 1;
    try {
      await generation.switchPersonas(this.#sequences.length - 1, this.#session.numbered(personas));
    } catch (error) {
      if (!this.#session.isLoss(error)) throw error;
    }
  }

  /** Does something to the answers after what is being done to them. */
  #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}

/** What a switch gets where there is nothing to switch. */
export function notAnswering(): WebReftError {
  return new WebReftError("input", "switch: no answer is under way; call it inside the answer's loop");
}

/** What a training is made of. */
export interface TrainingRequest {
  reft: number;
  examples: Example[];
  /** Seconds between two checkpoints for the page at least; undefined where it wants none. */
  checkpointSeconds: number | undefined;
  /** Begins it, on interventions by the engine's number. */
  begin(engine: WebEngine, number: number): WebTraining;
}

/** A training. When its machine is lost, it goes on from a checkpoint of its own, and only new steps are given out. */
class TrainingRun {
  readonly #request: TrainingRequest;
  readonly #line: Line<TrainStep, TrainNews>;
  readonly #pace = new Pace();
  /** Where it goes on when the machine is lost; undefined for its beginning. */
  #checkpoint: Uint8Array | undefined;
  /** The steps given out by then. */
  #before = 0;
  /** The last step that was given out. */
  #given = 0;
  #isWarned = false;
  /** When the page had its last checkpoint. */
  #since = performance.now();

  constructor(request: TrainingRequest, line: Line<TrainStep, TrainNews>) {
    this.#request = request;
    this.#line = line;
  }

  /** Whether a step was given out. */
  get hasMoved(): boolean {
    return this.#given > 0;
  }

  /** Gives out the steps to the end, from the beginning or the last step that was given out on. */
  async toTheEnd(engine: WebEngine, number: number): Promise<void> {
    const { emit, tell, signal } = this.#line;
    const run = this.#begin(engine, number);
    try {
      if (!this.#isWarned) for (const warning of run.warnings()) tell({ warning });
      this.#isWarned = true;
      await this.#catchUp(run);
      const watch = stepWatch(this.#line);
      for (let step = await run.next(watch); step; step = await run.next(watch)) {
        if (step.epochEnds && this.#isDue()) await this.#tellCheckpoint(run);
        this.#given = step.step;
        await emit(step);
        if (this.#pace.isDue) await this.#keep(run);
      }
    } catch (error) {
      if (signal.aborted && this.#request.checkpointSeconds !== undefined) await this.#tellCheckpoint(run);
      throw error;
    } finally {
      run.free();
    }
  }

  /** Makes the steps again that were given out. */
  async again(engine: WebEngine, number: number): Promise<void> {
    const run = this.#begin(engine, number);
    try {
      await this.#catchUp(run);
    } finally {
      run.free();
    }
  }

  async #catchUp(run: WebTraining): Promise<void> {
    for (let step = this.#before; step < this.#given; ) step = (await run.next(UNWATCHED))?.step ?? this.#given;
  }

  async #keep(run: WebTraining): Promise<void> {
    this.#checkpoint = await this.#pace.take(() => run.checkpoint());
    this.#before = this.#given;
  }

  #begin(engine: WebEngine, number: number): WebTraining {
    const { examples, begin } = this.#request;
    return this.#checkpoint ? engine.resumeOn(number, this.#checkpoint, examples) : begin(engine, number);
  }

  #isDue(): boolean {
    const { checkpointSeconds: seconds } = this.#request;
    return seconds !== undefined && performance.now() - this.#since >= seconds * 1000;
  }

  async #tellCheckpoint(run: WebTraining): Promise<void> {
    this.#line.tell({ checkpoint: new Uint8Array(await run.checkpoint()) });
    this.#since = performance.now();
  }
}

/**
 * Trains step by step as long as the page asks for more. Where so many seconds have passed the page gets a checkpoint after an epoch, and one
 * of the last whole step where it ends the training before.
 */
export async function train(session: Session, request: TrainingRequest, line: Line<TrainStep, TrainNews>) {
  const run = new TrainingRun(request, line);
  try {
    await session.run(line.signal, (engine) => run.toTheEnd(engine, session.number(request.reft)));
  } finally {
    if (run.hasMoved) await session.changed(request.reft, (engine, number) => run.again(engine, number), true);
  }
}

/** Makes one step on all of the examples. */
export async function trainStep(
  session: Session,
  { reft, examples, training }: { reft: number; examples: Example[]; training: Training },
  line: Line<never, TrainNews>,
): Promise<TrainStep> {
  const watch = stepWatch(line);
  const make = (engine: WebEngine) => engine.trainStep(session.number(reft), examples, training, watch);
  const step = await session.run(line.signal, make);
  await session.changed(reft, (engine, number) => engine.trainStep(number, examples, training, UNWATCHED));
  return step;
}
