/**
 * Random programs of calls on two models of one page: whatever is called when, every promise settles, no call fails as a bug, and an
 * answer is that of its prompt. `WEBREFT_PROGRAMS` says how many; a failure prints its seed and the smallest program that fails.
 */
import fc from "fast-check";
import { beforeAll, expect, inject, test } from "vitest";
import { type Reft, WebReft, WebReftError } from "webreft";
import { EXAMPLES, LOREFT, Q8 } from "../fixtures.js";

const PROMPTS = ["four and", "the cat", "a dog ran"];
const GREEDY = { maxTokens: 6 };
const PATIENCE_MS = 5000;
const answers: string[] = [];
/** How calls ended, over all programs. */
const ended = { done: 0, answered: 0, input: 0, aborted: 0 };

beforeAll(async () => {
  const model = await WebReft.load(Q8, { backend: "cpu" });
  for (const prompt of PROMPTS) answers.push(await model.complete(prompt, GREEDY));
  await model.dispose();
});

/** One model of a program, and what was made on it. */
interface Side {
  model?: WebReft;
  refts: Reft[];
  file?: Uint8Array<ArrayBuffer>;
}

/** A program that runs: its two sides, what it waits for, and what it can end. */
class Run {
  readonly #sides: Side[] = [{ refts: [] }, { refts: [] }];
  readonly #signals: AbortController[] = [];
  readonly #pending: Promise<unknown>[] = [];

  /** Starts a step of the program, and does not wait for its end. */
  start(step: Step): void {
    const side = this.#sides[step.side] as Side;
    const work = Promise.resolve().then(() => ACTIONS[step.action](side, step, this));
    this.#pending.push(settled(step, work));
  }

  signal(): AbortSignal {
    const controller = new AbortController();
    this.#signals.push(controller);
    return controller.signal;
  }

  abort(): void {
    for (const controller of this.#signals.splice(0)) controller.abort();
  }

  /** Waits until everything that was started is over. */
  async settle(): Promise<void> {
    await Promise.all(this.#pending.splice(0));
  }

  /** Models that are left answer as ever, and are disposed. */
  async end(): Promise<void> {
    await this.settle();
    for (const { model } of this.#sides) {
      if (!model) continue;
      expect(await model.complete(PROMPTS[0] as string, GREEDY)).toBe(answers[0]);
      await model.dispose();
    }
  }
}

/** Fails where work does not end, or ends in an error that no program explains. */
async function settled(step: Step, work: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${step.action} did not settle`)), PATIENCE_MS);
  });
  try {
    await Promise.race([work, late]);
    ended.done += 1;
  } catch (error) {
    if (!(error instanceof WebReftError) || (error.kind !== "input" && error.kind !== "aborted")) throw error;
    ended[error.kind] += 1;
  } finally {
    clearTimeout(timer);
  }
}

/** What a step of a program does, on a side that may have no model. */
const ACTIONS = {
  async load(side: Side, _: Step, run: Run) {
    if (side.model) return;
    const model = await WebReft.load(Q8, { backend: "cpu", signal: run.signal() });
    if (side.model) await model.dispose();
    else side.model = model;
  },
  /** Edits of strength 0 change nothing. */
  async generate(side: Side, { which, leaveAt }: Step, run: Run) {
    const [reft] = side.refts.slice(-1);
    const options = { ...GREEDY, signal: run.signal(), ...(reft && { reft: { reft, strength: 0 } }) };
    const pieces: string[] = [];
    for await (const { text, finish } of side.model?.generate(PROMPTS[which] as string, options) ?? []) {
      pieces.push(text);
      expect(answers[which]?.startsWith(pieces.join(""))).toBe(true);
      if (finish) {
        expect(pieces.join("")).toBe(answers[which]);
        ended.answered += 1;
      }
      if (pieces.length === leaveAt) break;
    }
  },
  async switch(side: Side) {
    const [reft] = side.refts;
    await side.model?.switch(reft && { reft, strength: 0 });
  },
  async reft(side: Side) {
    const made = side.model?.reft(LOREFT);
    if (made) side.refts.push(made);
  },
  async train(side: Side, { leaveAt }: Step, run: Run) {
    for await (const { step, loss } of side.refts[0]?.train(EXAMPLES, { epochs: 5, signal: run.signal() }) ?? []) {
      expect(loss).toBeGreaterThan(0);
      if (step === leaveAt) break;
    }
  },
  async trainStep(side: Side, _: Step, run: Run) {
    await side.refts[0]?.trainStep(EXAMPLES, { signal: run.signal() });
  },
  async save(side: Side) {
    const file = await side.refts[0]?.save();
    if (file) side.file = file;
  },
  async loadReft(side: Side) {
    if (side.model && side.file) side.refts.push(await side.model.loadReft(side.file));
  },
  async memory(side: Side) {
    const memory = await side.model?.memory();
    if (memory) expect(memory.wasm).toBeGreaterThan(0);
  },
  async disposeReft(side: Side) {
    await side.refts.pop()?.dispose();
  },
  /** What was made on the model stays, to be used wrongly. */
  async disposeModel(side: Side) {
    const { model } = side;
    delete side.model;
    await model?.dispose();
  },
  async abort(_: Side, __: Step, run: Run) {
    run.abort();
  },
};

interface Step {
  action: keyof typeof ACTIONS;
  side: number;
  which: number;
  leaveAt: number;
  /** Whether everything is over before the next step. */
  wait: boolean;
}

/** Actions that a program has more of, so that most of it finds a model. */
const OFTEN: Step["action"][] = [
  "generate",
  "generate",
  "generate",
  "generate",
  "switch",
  "reft",
  "train",
  "trainStep",
];

const step: fc.Arbitrary<Step> = fc.record({
  action: fc.constantFrom(...(Object.keys(ACTIONS) as Step["action"][]), ...OFTEN),
  side: fc.constantFrom(0, 0, 0, 1),
  which: fc.nat(PROMPTS.length - 1),
  leaveAt: fc.integer({ min: 1, max: 12 }),
  wait: fc.boolean(),
});

test("whatever a program calls, promises settle and answers are right", { timeout: 3_600_000 }, async () => {
  const first: Step = { action: "load", side: 0, which: 0, leaveAt: 1, wait: true };
  const programs = fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 20 }), async (program) => {
    const run = new Run();
    for (const one of [first, ...program]) {
      run.start(one);
      if (one.wait) await run.settle();
    }
    await run.end();
  });
  const numRuns = inject("allFaults") ? 10_000 : 200;
  const seed = inject("allFaults") ? Date.now() % 2 ** 31 : 1;
  console.log(`${numRuns} programs from seed ${seed}`);
  await fc.assert(programs, { numRuns, seed });
  console.log(ended);
  expect(ended.answered).toBeGreaterThan(numRuns / 10);
});
