/** The worker's side of `protocol.ts`: it holds the engine, and all of its loops. */
import init, { type EngineStep, type InitOutput, WebEngine, type WebTraining } from "../wasm/webreft.js";
import { type Adapter, findAdapter } from "./adapter.js";
import { WebReftError } from "./error.js";
import type { Call, Calls, Handlers, Reply, Request, Thrown, TrainedStep, TrainStep } from "./protocol.js";
import { open } from "./source.js";

let wasm: InitOutput | undefined;
let loaded: WebEngine | undefined;
let adapter: Adapter | undefined;

const handlers: Handlers = {
  async probe() {
    return findAdapter();
  },

  async load(takes, { tell, signal }) {
    adapter = await findAdapter();
    wasm = await init({ module_or_path: takes.wasm });
    const file = await open(takes.source, signal, (loaded, total) => tell({ phase: "download", loaded, total }));
    tell({ phase: "header", loaded: 0, total: file.length });
    const onWeights = (loaded: number, total: number) => tell({ phase: "weights", loaded, total });
    loaded = await WebEngine.load(file, takes.contextLength, onWeights);
    signal.throwIfAborted();
    return { ...loaded.info(), adapter };
  },

  async memory() {
    return { gpu: engine().gpuBytes(), wasm: wasm?.memory.buffer.byteLength ?? 0 };
  },

  async bench(tokens) {
    return { ...JSON.parse(await engine().bench(tokens)), adapter: adapter?.name };
  },

  async newReft({ configs, head }) {
    return engine().newReft(configs, head);
  },

  async scores({ reft, texts }) {
    return JSON.parse(await engine().scores(reft, texts));
  },

  async trainableParameters(reft) {
    const [trainable = 0, total = 0] = engine().trainableParameters(reft);
    return { trainable, total, percent: (100 * trainable) / total, bytes: 4 * trainable };
  },

  async loadReft(bytes) {
    const reft = engine().loadReft(bytes);
    return { reft, configs: engine().reftConfigs(reft), warnings: engine().reftWarnings(reft) };
  },

  async importReft({ archive, unsaved }) {
    const reft = engine().importReft(archive, unsaved);
    return { reft, configs: engine().reftConfigs(reft) };
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

  async generate({ sequences, sampling }, { emit }) {
    const generation = engine().generate(sequences, sampling);
    try {
      for (let pieces = await generation.next(); pieces; pieces = await generation.next()) {
        for (const piece of pieces) await emit(piece);
      }
    } finally {
      generation.free();
    }
    return null;
  },

  async train({ reft, examples, training, checkpoints }, { emit }) {
    return toTheEnd(engine().train(reft, examples, training), checkpoints, emit);
  },

  async resume({ checkpoint, examples, checkpoints }, { emit }) {
    const run = engine().resume(checkpoint, examples);
    await emit({ reft: run.reft, configs: engine().reftConfigs(run.reft) });
    return toTheEnd(run, checkpoints, emit);
  },

  async trainStep({ reft, examples, training }) {
    return pace()(await timed(() => engine().trainStep(reft, examples, training)));
  },
};

/** Trains step by step as long as the page asks for more; after each epoch there may be a checkpoint. */
async function toTheEnd(run: WebTraining, checkpoints: boolean, emit: (step: TrainedStep) => Promise<void>) {
  const paced = pace();
  try {
    for (let timedStep = await timed(() => run.next()); timedStep; timedStep = await timed(() => run.next())) {
      const step = paced(timedStep);
      await emit(
        checkpoints && step.epochEnds ? { ...step, checkpoint: new Uint8Array(await run.checkpoint()) } : step,
      );
    }
  } finally {
    run.free();
  }
  return null;
}

/** A step, and how long it took. */
async function timed<Step extends EngineStep | undefined>(work: () => Promise<Step>) {
  const start = performance.now();
  const step = await work();
  return step && { ...step, seconds: (performance.now() - start) / 1000 };
}

/** Adds the epoch's tokens per second so far. A step by itself would say little: the next one is made while its loss is read. */
function pace() {
  let [epoch, tokens, seconds] = [0, 0, 0];
  return (step: Omit<TrainStep, "tokensPerSecond">): TrainStep => {
    if (step.epoch !== epoch) [epoch, tokens, seconds] = [step.epoch, 0, 0];
    tokens += step.tokens;
    seconds += step.seconds;
    return { ...step, tokensPerSecond: tokens / seconds };
  };
}

/** Calls that are loops: they hold the engine until they end. All others take their turn. */
const LOOPS: ReadonlySet<Call> = new Set(["load", "generate", "train", "resume", "bench"]);

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
  } else if (loop) {
    const message = `busy: ${loop} is running; wait for its end, or end it`;
    post({ id: data.id, kind: "error", error: { kind: "input", message } });
  } else {
    begin(data.id, data.call, data.takes);
  }
};

function begin<C extends Call>(id: number, call: C, takes: Calls[C]["takes"]): void {
  const state: Running = { controller: new AbortController(), wanted: 0, wake: () => {} };
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
  const tell = (item: Calls[C]["streams"]) => post({ id, kind: "item", item });
  const emit = async (item: Calls[C]["streams"]) => {
    tell(item);
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
    return { id, kind: "error", error: describe(error) };
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
