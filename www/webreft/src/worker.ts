/** The worker's side of `protocol.ts`: it holds the model, and makes what the page asks for. */
import { parseExamples, type Reader, WebEngine } from "../wasm/webreft.js";
import { type Adapter, findMachine } from "./adapter.js";
import { readAhead } from "./ahead.js";
import { WebReftError } from "./error.js";
import { withFiles, withHeaders } from "./files.js";
import { heapBytes, isTrap, restart, start } from "./instance.js";
import { Answers, notAnswering, runWatch, train, trainStep } from "./loops.js";
import type {
  Call,
  Calls,
  Handlers,
  HiddenStates,
  Line,
  LoadProgress,
  Reply,
  Request,
  Thrown,
  TrainableParameters,
} from "./protocol.js";
import { type Opened, type OpenListener, Session } from "./session.js";
import { Sound } from "./sound.js";

let loaded: Session | undefined;
let adapter: Adapter | undefined;
/** The answers under way. */
let answers: Answers | undefined;

const handlers: Handlers = {
  async probe() {
    return findMachine();
  },

  async load(takes, { tell, signal }) {
    await start(takes.wasm);
    WebEngine.checkOptions(takes.options);
    const { backend } = takes.options;
    const open = (on: typeof backend, listener: OpenListener) => openModel(takes, on, listener);
    const opened = await open(backend, { tell, signal });
    loaded = new Session(opened, open, backend, (recovery) => post({ id: 0, kind: "recovery", recovery }));
    return opened.info;
  },

  async inspect({ wasm, opening, options }, { signal }) {
    await start(wasm);
    const { backend } = await choose(options.backend);
    return withHeaders(opening, signal, async (readers, files, revision) => {
      const sum = (of: "bytes" | "stored") => files.reduce((sum, file) => sum + file[of], 0);
      const told = await WebEngine.inspect(readers, { ...options, backend });
      return { ...told, files, download: sum("bytes"), stored: sum("stored"), ...(revision && { revision }) };
    });
  },

  async parseExamples({ wasm, bytes }) {
    await start(wasm);
    return JSON.parse(parseExamples(bytes));
  },

  async memory(_, { signal }) {
    return session().run(signal, (engine) => ({ gpu: engine.gpuBytes(), wasm: heapBytes() }));
  },

  async bench({ tokens, sequences }, { signal }) {
    const report = await session().run(signal, (engine) => engine.bench(tokens, sequences));
    return { ...JSON.parse(report), ...(adapter && { adapter: adapter.name }) };
  },

  async newReft({ configs, head }, { signal }) {
    return session().hold(signal, (engine) => engine.newReft(configs, head));
  },

  async scores({ reft, texts }, { signal }) {
    return JSON.parse(await session().run(signal, (engine) => engine.scores(session().number(reft), texts)));
  },

  async steer({ pairs, options }, line) {
    const file = await session().run(line.signal, async (engine) => {
      const number = await engine.steer(pairs, options, runWatch(line));
      try {
        return await engine.saveReft(number);
      } finally {
        engine.removeReft(number);
      }
    });
    return made(await session().hold(line.signal, (engine) => engine.loadReft(file)), line);
  },

  async hiddenStates({ text, places }, line) {
    const states = await session().run(line.signal, (engine) => engine.hiddenStates(text, places, runWatch(line)));
    return states.map((it): HiddenStates => {
      const { layer, component, head, positions, width, values } = it;
      it.free();
      const at = { layer, component, ...(head !== undefined && { head }), positions: [...positions] };
      return { ...at, shape: [positions.length, width], values: new Float32Array(values) };
    });
  },

  async trainableParameters(reft, { signal }) {
    return session().run(signal, (engine) => share(engine, session().number(reft)));
  },

  async wouldTrain(configs, { signal }) {
    return session().run(signal, (engine) => {
      const number = engine.newReft(configs, undefined);
      try {
        return share(engine, number);
      } finally {
        engine.removeReft(number);
      }
    });
  },

  async loadReft(bytes, line) {
    return warned(await session().hold(line.signal, (engine) => engine.loadReft(bytes)), line);
  },

  async importReft({ archive, unsaved }, line) {
    return warned(await session().hold(line.signal, (engine) => engine.importReft(archive, unsaved)), line);
  },

  async exportReft({ reft, library }, { signal }) {
    const work = (engine: WebEngine) => engine.exportReft(session().number(reft), library);
    return new Uint8Array(await session().run(signal, work));
  },

  async exportScript({ reft, examples, training }, { signal }) {
    const work = (engine: WebEngine) => engine.exportScript(session().number(reft), examples, training);
    return new Uint8Array(await session().run(signal, work));
  },

  async saveReft(reft, { signal }) {
    return new Uint8Array(await session().run(signal, (engine) => engine.saveReft(session().number(reft))));
  },

  async removeReft(reft) {
    session().remove(reft);
    return null;
  },

  async generate({ sequences, sampling }, line) {
    answers = new Answers(session(), sequences, sampling);
    try {
      await answers.run(line);
    } finally {
      answers = undefined;
    }
    return null;
  },

  async switch(personas) {
    if (!answers) throw notAnswering();
    await answers.switch(personas);
    return null;
  },

  async train({ reft, examples, training, checkpointSeconds }, line) {
    const begin = (engine: WebEngine, number: number) => engine.train(number, examples, training);
    await train(session(), { reft, examples, checkpointSeconds, begin }, line);
    return null;
  },

  async resume({ checkpoint, examples, training, checkpointSeconds }, line) {
    const reft = await session().hold(line.signal, (engine) => {
      const run = engine.resume(checkpoint, examples, training);
      const number = run.reft;
      run.free();
      return number;
    });
    await line.emit(await made(reft, line));
    const begin = (engine: WebEngine, number: number) => engine.resumeOn(number, checkpoint, examples);
    await train(session(), { reft, examples, checkpointSeconds, begin }, line);
    return null;
  },

  async trainStep(takes, line) {
    return trainStep(session(), takes, line);
  },
};

type Backend = Calls["load"]["takes"]["options"]["backend"];

/** Loads a model onto a machine. */
async function openModel(
  { opening, options }: Calls["load"]["takes"],
  asked: Backend,
  { tell, signal }: OpenListener,
): Promise<Opened> {
  const { backend, found, warnings: heard } = await choose(asked);
  const check = (headers: Reader[]) => WebEngine.check(headers, { ...options, backend });
  return withFiles(opening, { tell, signal, check }, async (files, warnings) => {
    tell({ phase: "header", loaded: 0, total: files.reduce((sum, { length }) => sum + length, 0) });
    const onProgress = (phase: LoadProgress["phase"], loaded: number, total: number) => tell({ phase, loaded, total });
    const sound = found && (await Sound.of(found.name));
    const engine = await WebEngine.load(files.map(readAhead), { ...options, backend }, sound?.keys ?? [], onProgress);
    if (signal.aborted) engine.free();
    signal.throwIfAborted();
    await sound?.keep(engine.sound());
    const info = engine.info();
    adapter = info.backend === "gpu" ? found : undefined;
    const all = [...warnings, ...heard, ...engine.warnings()];
    return { engine, info: { ...info, ...(adapter && { adapter }), warnings: all } };
  });
}

/** What the engine is asked for, on which adapter, and what the caller should hear of it. */
interface Choice {
  backend: NonNullable<Backend>;
  found?: Adapter;
  warnings: string[];
}

/**
 * Chooses the CPU where nobody is asked for and there is no real GPU; the engine would not know the adapter's name.
 *
 * @throws {WebReftError} `device` where a GPU is asked for and there is none.
 */
async function choose(backend: Backend = "auto"): Promise<Choice> {
  if (backend === "cpu") return { backend, warnings: [] };
  const machine = await findMachine();
  const { adapter: found } = machine;
  const wasLost = adapter && !found;
  const reason = wasLost ? `${machine.reason} any more` : machine.reason;
  if (backend === "gpu" && !found) throw new WebReftError("device", `backend "gpu": ${reason}`);
  if (backend === "auto" && machine.backend === "cpu") {
    const advice = wasLost ? "; restart the browser to use the GPU again" : "";
    return { backend: "cpu", warnings: [`The CPU computes: ${reason}${advice}`] };
  }
  return { backend, warnings: [], ...(found && { found }) };
}

function session(): Session {
  if (!loaded) throw new WebReftError("bug", "the worker was asked for a model before it had one");
  return loaded;
}

/** Interventions that the engine holds, as the page knows them. */
function made(reft: number, { signal }: { signal: AbortSignal }) {
  return session().run(signal, (engine) => {
    const number = session().number(reft);
    return { reft, configs: engine.reftConfigs(number), classes: engine.reftClasses(number) };
  });
}

/** The same, with what is other with the model than it was when they were saved. */
async function warned(reft: number, line: { signal: AbortSignal }) {
  const warnings = await session().run(line.signal, (engine) => engine.reftWarnings(session().number(reft)));
  return { ...(await made(reft, line)), warnings };
}

/** What of how much is trained. */
function share(engine: WebEngine, number: number): TrainableParameters {
  const [trainable = 0, total = 0] = engine.trainableParameters(number);
  return { trainable, total, percent: (100 * trainable) / total, bytes: 4 * trainable };
}

/** Calls that are loops: they hold the engine until they end. All others take their turn. */
const LOOPS: ReadonlySet<Call> = new Set(["load", "inspect", "generate", "train", "resume", "bench"]);

/** A call under way: how to end it, and how many items the page has asked for. */
interface Running {
  controller: AbortController;
  wanted: number;
  wake(): void;
  /** Ends it with an error, though its own work never ends. */
  crash(error: WebReftError): void;
}

const running = new Map<number, Running>();
/** The loop that holds the engine. */
let loop: { call: Call; signal: AbortSignal } | undefined;
let turn: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  const state = running.get(data.id);
  if (data.call === "ping") {
    post({ id: 0, kind: "pong" });
  } else if (data.call === "more") {
    if (state) state.wanted += 1;
    state?.wake();
  } else if (data.call === "abort") {
    state?.controller.abort(new WebReftError("aborted", `aborted: ${data.reason}`));
    state?.wake();
  } else if (data.call === "switch") {
    void answer(data.id, data.call, data.takes, fresh()).then(post);
  } else if (loop && !loop.signal.aborted) {
    const message = `busy: ${loop.call} is running; wait for its end, or end it`;
    post({ id: data.id, kind: "error", error: { kind: "input", message } });
  } else {
    begin(data.id, data.call, data.takes);
  }
};

/** A trap within an asynchronous call of the engine ends no promise; it is heard of here alone. */
self.addEventListener("error", (event) => {
  if (!isTrap(event.error)) return;
  event.preventDefault();
  void trapped(event.error);
});

/** Ends all calls, and throws the wasm instance away: the model is loaded again by the next call. Returns what they end with. */
async function trapped(error: Error): Promise<WebReftError> {
  const what = `webreft stopped: ${error.message}; please report it`;
  const thrown = new WebReftError("bug", `${what}. The model is loaded again by the next call.`, { cause: error });
  loaded?.drop(what);
  answers = undefined;
  for (const state of running.values()) state.crash(thrown);
  await restart();
  return thrown;
}

function fresh(): Running {
  return { controller: new AbortController(), wanted: 0, wake: () => {}, crash: () => {} };
}

function begin<C extends Call>(id: number, call: C, takes: Calls[C]["takes"]): void {
  const state = fresh();
  running.set(id, state);
  turn = turn.then(async () => {
    if (LOOPS.has(call)) loop = { call, signal: state.controller.signal };
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
  const crashed = new Promise<never>((_, reject) => {
    state.crash = reject;
  });
  try {
    signal.throwIfAborted();
    return { id, kind: "done", value: await Promise.race([handle(call, takes, { tell, emit, signal }), crashed]) };
  } catch (error) {
    const thrown = describe(isTrap(error) ? await trapped(error) : error);
    // The engine does not know why it was ended.
    return { id, kind: "error", error: thrown.kind === "aborted" && signal.aborted ? describe(signal.reason) : thrown };
  }
}

/** What a handler throws before its first wait is a rejection, too. */
async function handle<C extends Call>(
  call: C,
  takes: Calls[C]["takes"],
  line: Line<Calls[C]["streams"], Calls[C]["tells"]>,
): Promise<Calls[C]["returns"]> {
  return handlers[call](takes, line);
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
