/** The worker's side of `protocol.ts`: it holds the engine, and all of its loops. */
import init, {
  type InitOutput,
  type LoadOptions,
  parseExamples,
  type Reader,
  type RunWatch,
  type StepWatch,
  WebEngine,
  type WebGeneration,
  type WebTraining,
} from "../wasm/webreft.js";
import { type Adapter, findMachine } from "./adapter.js";
import { readAhead } from "./ahead.js";
import { WebReftError } from "./error.js";
import { withFiles, withHeaders } from "./files.js";
import type {
  Call,
  Calls,
  Handlers,
  HiddenStates,
  Line,
  LoadProgress,
  Reply,
  Request,
  RunProgress,
  Thrown,
  TrainableParameters,
  TrainNews,
  TrainStep,
} from "./protocol.js";
import { Sound } from "./sound.js";

let wasm: InitOutput | undefined;
let loaded: WebEngine | undefined;
let adapter: Adapter | undefined;

const handlers: Handlers = {
  async probe() {
    return findMachine();
  },

  async load({ wasm: where, opening, options }, { tell, signal }) {
    wasm = await init({ module_or_path: where });
    WebEngine.checkOptions(options);
    const { backend, found, warnings: heard } = await choose(options);
    const check = (headers: Reader[]) => WebEngine.check(headers, { ...options, backend });
    return withFiles(opening, { tell, signal, check }, async (files, warnings) => {
      tell({ phase: "header", loaded: 0, total: files.reduce((sum, { length }) => sum + length, 0) });
      const onProgress = (phase: LoadProgress["phase"], loaded: number, total: number) =>
        tell({ phase, loaded, total });
      const sound = found && (await Sound.of(found.name));
      loaded = await WebEngine.load(files.map(readAhead), { ...options, backend }, sound?.keys ?? [], onProgress);
      signal.throwIfAborted();
      await sound?.keep(loaded.sound());
      const info = loaded.info();
      adapter = info.backend === "gpu" ? found : undefined;
      return { ...info, ...(adapter && { adapter }), warnings: [...warnings, ...heard, ...loaded.warnings()] };
    });
  },

  async inspect({ wasm: where, opening, options }, { signal }) {
    await init({ module_or_path: where });
    const { backend } = await choose(options);
    return withHeaders(opening, signal, async (readers, files, revision) => {
      const sum = (of: "bytes" | "stored") => files.reduce((sum, file) => sum + file[of], 0);
      const told = await WebEngine.inspect(readers, { ...options, backend });
      return { ...told, files, download: sum("bytes"), stored: sum("stored"), ...(revision && { revision }) };
    });
  },

  async parseExamples({ wasm: where, bytes }) {
    await init({ module_or_path: where });
    return JSON.parse(parseExamples(bytes));
  },

  async memory() {
    return { gpu: engine().gpuBytes(), wasm: wasm?.memory.buffer.byteLength ?? 0 };
  },

  async bench({ tokens, sequences }) {
    const report = JSON.parse(await engine().bench(tokens, sequences));
    return { ...report, ...(adapter && { adapter: adapter.name }) };
  },

  async newReft({ configs, head }) {
    return engine().newReft(configs, head);
  },

  async scores({ reft, texts }) {
    return JSON.parse(await engine().scores(reft, texts));
  },

  async steer({ pairs, options }, { tell, signal }) {
    return made(await engine().steer(pairs, options, runWatch({ tell, signal })));
  },

  async hiddenStates({ text, places }, { tell, signal }) {
    const states = await engine().hiddenStates(text, places, runWatch({ tell, signal }));
    return states.map((it): HiddenStates => {
      const { layer, component, head, positions, width, values } = it;
      it.free();
      const at = { layer, component, ...(head !== undefined && { head }), positions: [...positions] };
      return { ...at, shape: [positions.length, width], values: new Float32Array(values) };
    });
  },

  async trainableParameters(reft) {
    return share(engine().trainableParameters(reft));
  },

  async wouldTrain(configs) {
    const reft = engine().newReft(configs, undefined);
    try {
      return share(engine().trainableParameters(reft));
    } finally {
      engine().removeReft(reft);
    }
  },

  async loadReft(bytes) {
    const reft = engine().loadReft(bytes);
    return { ...made(reft), warnings: engine().reftWarnings(reft) };
  },

  async importReft({ archive, unsaved }) {
    const reft = engine().importReft(archive, unsaved);
    return { ...made(reft), warnings: engine().reftWarnings(reft) };
  },

  async exportReft({ reft, library }) {
    return new Uint8Array(await engine().exportReft(reft, library));
  },

  async exportScript({ reft, examples, training }) {
    return new Uint8Array(await engine().exportScript(reft, examples, training));
  },

  async saveReft(reft) {
    return new Uint8Array(await engine().saveReft(reft));
  },

  async removeReft(reft) {
    engine().removeReft(reft);
    return null;
  },

  async generate({ sequences, sampling }, { tell, emit, signal }) {
    const progress = (share: number) => tell({ phase: "prefill", share });
    const generation = await engine().generate(sequences, sampling, { cancelled: () => signal.aborted, progress });
    const mine = { generation, last: sequences.length - 1, turn: Promise.resolve() };
    const next = () => inTurn(mine, () => generation.next());
    answering = mine;
    try {
      for (let pieces = await next(); pieces; pieces = await next()) {
        for (const piece of pieces) await emit(piece);
      }
    } finally {
      answering = undefined;
      await mine.turn;
      generation.free();
    }
    return null;
  },

  async switch(personas) {
    const now = answering;
    if (!now) throw new WebReftError("input", "switch: no answer is under way; call it inside the answer's loop");
    await inTurn(now, () => now.generation.switchPersonas(now.last, personas));
    return null;
  },

  async train({ reft, examples, training, checkpointSeconds }, line) {
    return toTheEnd(engine().train(reft, examples, training), checkpointSeconds, line);
  },

  async resume({ checkpoint, examples, training, checkpointSeconds }, line) {
    const run = engine().resume(checkpoint, examples, training);
    await line.emit(made(run.reft));
    return toTheEnd(run, checkpointSeconds, line);
  },

  async trainStep({ reft, examples, training }, line) {
    return engine().trainStep(reft, examples, training, watching(line));
  },
};

/** What the engine is asked for, on which adapter, and what the caller should hear of it. */
interface Choice {
  backend: NonNullable<LoadOptions["backend"]>;
  found?: Adapter;
  warnings: string[];
}

/**
 * Chooses the CPU where nobody is asked for and there is no real GPU; the engine would not know the adapter's name.
 *
 * @throws {WebReftError} `device` where a GPU is asked for and there is none.
 */
async function choose({ backend = "auto" }: Pick<LoadOptions, "backend">): Promise<Choice> {
  if (backend === "cpu") return { backend, warnings: [] };
  const machine = await findMachine();
  const { adapter: found, reason } = machine;
  if (backend === "gpu" && !found) throw new WebReftError("device", `backend "gpu": ${reason}`);
  if (backend === "auto" && machine.backend === "cpu") {
    return { backend: "cpu", warnings: [`The CPU computes: ${reason}`] };
  }
  return { backend, warnings: [], ...(found && { found }) };
}

/** Interventions that the engine holds, as the page knows them. */
function made(reft: number) {
  return { reft, configs: engine().reftConfigs(reft), classes: engine().reftClasses(reft) };
}

/** Who watches a run over texts for the page. */
function runWatch({ tell, signal }: Pick<Line<never, RunProgress>, "tell" | "signal">): RunWatch {
  return { cancelled: () => signal.aborted, progress: (share) => tell({ share }) };
}

/** What of how much is trained. */
function share([trainable = 0, total = 0]: Float64Array): TrainableParameters {
  return { trainable, total, percent: (100 * trainable) / total, bytes: 4 * trainable };
}

/** Who watches a training for the page. */
function watching({ tell, signal }: Pick<Line<never, TrainNews>, "tell" | "signal">): StepWatch {
  return { cancelled: () => signal.aborted, progress: (progress) => tell({ progress }) };
}

/**
 * Trains step by step as long as the page asks for more. Where so many seconds have passed there is a checkpoint after an epoch, and one
 * of the last whole step where the page ends the training before.
 */
async function toTheEnd(
  run: WebTraining,
  checkpointSeconds: number | undefined,
  { tell, emit, signal }: Line<TrainStep, TrainNews>,
) {
  const watch = watching({ tell, signal });
  const checkpoint = async () => tell({ checkpoint: new Uint8Array(await run.checkpoint()) });
  let since = performance.now();
  for (const warning of run.warnings()) tell({ warning });
  const isDue = () => checkpointSeconds !== undefined && performance.now() - since >= checkpointSeconds * 1000;
  try {
    for (let step = await run.next(watch); step; step = await run.next(watch)) {
      if (step.epochEnds && isDue()) {
        await checkpoint();
        since = performance.now();
      }
      await emit(step);
    }
  } catch (error) {
    if (signal.aborted && checkpointSeconds !== undefined) await checkpoint();
    throw error;
  } finally {
    run.free();
  }
  return null;
}

/** The answers under way. Their tokens and their switches take turns. */
interface Answering {
  generation: WebGeneration;
  last: number;
  turn: Promise<unknown>;
}

let answering: Answering | undefined;

/** Does something to answers after what is being done to them. */
function inTurn<Value>(now: Answering, work: () => Promise<Value>): Promise<Value> {
  const done = now.turn.then(work);
  now.turn = done.catch(() => {});
  return done;
}

/** Calls that are loops: they hold the engine until they end. All others take their turn. */
const LOOPS: ReadonlySet<Call> = new Set(["load", "inspect", "generate", "train", "resume", "bench"]);

function engine(): WebEngine {
  if (!loaded) throw new WebReftError("bug", "the worker was asked for a model before it had one");
  return loaded;
}

/** A call under way: how to end it, and how many items the page has asked for. */
interface Running {
  controller: AbortController;
  wanted: number;
  wake(): void;
}

const running = new Map<number, Running>();
let loop: Call | undefined;
let turn: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  const state = running.get(data.id);
  if (data.call === "more") {
    if (state) state.wanted += 1;
    state?.wake();
  } else if (data.call === "abort") {
    state?.controller.abort(new WebReftError("aborted", `aborted: ${data.reason}`));
    state?.wake();
  } else if (data.call === "switch") {
    void answer(data.id, data.call, data.takes, fresh()).then(post);
  } else if (loop) {
    const message = `busy: ${loop} is running; wait for its end, or end it`;
    post({ id: data.id, kind: "error", error: { kind: "input", message } });
  } else {
    begin(data.id, data.call, data.takes);
  }
};

function fresh(): Running {
  return { controller: new AbortController(), wanted: 0, wake: () => {} };
}

function begin<C extends Call>(id: number, call: C, takes: Calls[C]["takes"]): void {
  const state = fresh();
  running.set(id, state);
  if (LOOPS.has(call)) loop = call;
  turn = turn.then(async () => {
    const reply = await answer(id, call, takes, state);
    running.delete(id);
    if (LOOPS.has(call)) loop = undefined;
    post(reply);
  });
}

async function answer<C extends Call>(
  id: number,
  call: C,
  takes: Calls[C]["takes"],
  state: Running,
): Promise<Reply<C>> {
  const { signal } = state.controller;
  const tell = (news: Calls[C]["tells"]) => post({ id, kind: "news", news });
  const emit = async (item: Calls[C]["streams"]) => {
    post({ id, kind: "item", item });
    while (state.wanted === 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        state.wake = resolve;
      });
    }
    signal.throwIfAborted();
    state.wanted -= 1;
  };
  try {
    signal.throwIfAborted();
    return { id, kind: "done", value: await handlers[call](takes, { tell, emit, signal }) };
  } catch (error) {
    const thrown = describe(error);
    // The engine does not know why it was ended.
    return { id, kind: "error", error: thrown.kind === "aborted" && signal.aborted ? describe(signal.reason) : thrown };
  }
}

function post<C extends Call>(reply: Reply<C>): void {
  self.postMessage(reply);
}

/** What was thrown, as it crosses. The engine throws `{ kind, message }`; anything else is a bug. */
function describe(error: unknown): Thrown {
  if (error instanceof WebReftError) return { kind: error.kind, message: error.message, retryable: error.retryable };
  return isThrown(error) ? error : { kind: "bug", message: String(error) };
}

function isThrown(error: unknown): error is Thrown {
  return typeof error === "object" && error !== null && "kind" in error && "message" in error;
}
