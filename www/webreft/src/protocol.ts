/**
 * What is said between a page and the worker that holds its engine.
 *
 * The page sends `Request`s, the worker answers each with any number of items and then one `done` or `error`, all
 * under the request's `id`. Items are work (training steps, tokens): the worker makes the next one only when the
 * page has asked for it by `more`, so a loop that is left or held leaves nothing running. News (progress, checkpoints) come in
 * between, unasked.
 */
import type {
  ContrastPair,
  EngineInfo,
  Example,
  HeadConfig,
  InspectOptions,
  LoadOptions,
  Prompt,
  ReftConfig,
  Sampling,
  Sequence,
  SequencePersona,
  SequencePiece,
  StatesAt,
  Steering,
  StepProgress,
  Training,
  EngineStep as TrainStep,
  Unsaved,
} from "../wasm/webreft.js";
import type { Adapter, Machine } from "./adapter.js";
import type { ErrorKind } from "./error.js";
import type { Opening } from "./files.js";
import type { Inspection } from "./inspection.js";

/** A call that is answered once, and tells nothing on the way. */
interface Plain<Takes, Returns> {
  takes: Takes;
  tells: never;
  streams: never;
  returns: Returns;
}

/** A call that tells how far it is. */
interface Told<Takes, Tells, Returns, Streams = never> {
  takes: Takes;
  tells: Tells;
  streams: Streams;
  returns: Returns;
}

/** A set of interventions that was made, by the engine's number. */
interface Made {
  reft: number;
  configs: ReftConfig[];
  classes: string[];
}

/** Every call the worker answers: what it takes, what it tells and streams on the way, what it returns. */
export interface Calls {
  probe: Plain<null, Machine>;
  load: Told<{ wasm: WasmSource | undefined; opening: Opening; options: LoadOptions }, LoadProgress, ModelInfo>;
  inspect: Plain<{ wasm: WasmSource | undefined; opening: Opening; options: InspectOptions }, Inspection>;
  parseExamples: Plain<{ wasm: WasmSource | undefined; bytes: Uint8Array<ArrayBuffer> }, ExampleData>;
  memory: Plain<null, Memory>;
  bench: Plain<{ tokens: number; sequences: number }, Record<string, unknown>>;
  newReft: Plain<{ configs: ReftConfig[]; head: HeadConfig | undefined }, number>;
  scores: Plain<{ reft: number; texts: string[] }, number[][]>;
  steer: Told<{ pairs: ContrastPair[]; options: Steering }, RunProgress, Made>;
  hiddenStates: Told<{ text: Prompt; places: StatesAt[] }, RunProgress, HiddenStates[]>;
  wouldTrain: Plain<ReftConfig[], TrainableParameters>;
  trainableParameters: Plain<number, TrainableParameters>;
  loadReft: Plain<Uint8Array<ArrayBuffer>, Made & { warnings: string[] }>;
  importReft: Plain<{ archive: Uint8Array<ArrayBuffer>; unsaved: Unsaved }, Made & { warnings: string[] }>;
  exportReft: Plain<{ reft: number; library: string }, Uint8Array<ArrayBuffer>>;
  exportScript: Plain<{ reft: number; examples: Example[]; training: Training }, Uint8Array<ArrayBuffer>>;
  saveReft: Plain<number, Uint8Array<ArrayBuffer>>;
  removeReft: Plain<number, null>;
  generate: Told<{ sequences: Sequence[]; sampling: Sampling }, PrefillProgress, null, SequencePiece>;
  /** Of the answers under way the last one. */
  switch: Plain<SequencePersona[], null>;
  train: Told<
    { reft: number; examples: Example[]; training: Training; checkpointSeconds: number | undefined },
    TrainNews,
    null,
    TrainStep
  >;
  resume: Told<
    {
      checkpoint: Uint8Array<ArrayBuffer>;
      examples: Example[];
      training: Training;
      checkpointSeconds: number | undefined;
    },
    TrainNews,
    null,
    TrainStep | Made
  >;
  trainStep: Told<{ reft: number; examples: Example[]; training: Training }, TrainNews, TrainStep>;
}

export type { StepProgress, TrainStep };

export type Call = keyof Calls;

/** Hidden states at one place, for interpretation. */
export interface HiddenStates {
  /** The layer, counted from 0. */
  layer: number;
  /** The part of it, by pyvene's name. */
  component: string;
  /** The head, where it is one. */
  head?: number;
  /** The tokens, counted from 0. */
  positions: number[];
  /** Tokens, and numbers of each. */
  shape: [number, number];
  /** The states, token after token. */
  values: Float32Array<ArrayBuffer>;
}

/** Where a run over texts stands. */
export interface RunProgress {
  /** The share that is done, from 0 to 1. */
  share: number;
}

/** A model that is loaded, and the machine it runs on. */
export interface ModelInfo extends EngineInfo {
  /** The GPU it runs on; absent where the CPU computes. */
  adapter?: Adapter;
  /** What is to be known about how it was loaded: why it is not stored, why it runs on the CPU. */
  warnings: string[];
}

/** The examples of a file. */
export interface ExampleData {
  /** What `Reft.train` takes. */
  examples: Example[];
  /** The names of the classes, sorted, where labels are names: what a head that learns them has as `classes`. */
  classes: string[];
  /** What is to be known: fields that are not read. */
  warnings: string[];
}

/** Where loading stands. */
export interface LoadProgress {
  /**
   * Waiting for another tab that loads the same model; fetching files; comparing their hashes with the Hub's; reading headers; moving
   * weights into the machine's memory; compiling kernels for the GPU; comparing the GPU with the CPU, once for each model and browser.
   * Phases that are not needed are left out.
   */
  phase: "waiting" | "download" | "verify" | "header" | "weights" | "compile" | "check";
  /** What is done of this phase: bytes, and in `compile` and `check` thousandths. */
  loaded: number;
  /** As much in all; 0 where the server does not say. */
  total: number;
}

/** Bytes in use. */
export interface Memory {
  /** In buffers on the GPU; 0 where the CPU computes. */
  gpu: number;
  /** In the wasm heap, which never shrinks: this is its peak. Where the CPU computes, the model lies in it. */
  wasm: number;
}

/** How much of a model is trained. */
export interface TrainableParameters {
  /** Trained numbers, as pyreft counts them: rotations in full. */
  trainable: number;
  /** The model's weights. */
  total: number;
  /** trainable / total, in percent. */
  percent: number;
  /** Bytes of the trained numbers. */
  bytes: number;
}

/**
 * What becomes of a machine that is lost while a model is used: a GPU that its driver or the browser has reset, or an engine that stopped by
 * a bug. The model is loaded again by the next call, or within the one under way, which then goes on where it was.
 */
export type Recovery =
  | { state: "lost"; reason: string }
  | { state: "loading"; progress: LoadProgress }
  /** The model is there again, on the CPU where the GPU was lost too often. */
  | { state: "back"; info: ModelInfo }
  /** It could not be loaded; the call that waited for it says why, and the next one tries again. */
  | { state: "failed" };

/** How far the reading of a prompt is. */
export interface PrefillProgress {
  phase: "prefill";
  /** The share of it that is done, from 0 to 1. */
  share: number;
}

/** What a training tells beside its steps: how far a step is, or a checkpoint. */
export type TrainNews = { progress: StepProgress } | { checkpoint: Uint8Array<ArrayBuffer> } | { warning: string };

/** Where the wasm file is, if not beside the worker: its address, its bytes, or the compiled module. */
export type WasmSource = string | ArrayBuffer | Uint8Array<ArrayBuffer> | WebAssembly.Module;

/** Page → worker. */
export type Request =
  | { [C in Call]: { id: number; call: C; takes: Calls[C]["takes"] } }[Call]
  | { id: number; call: "more" }
  /** Asks whether the worker still answers. */
  | { id: 0; call: "ping" }
  | { id: number; call: "abort"; reason: string };

/** An error as it crosses: what the engine throws, too. */
export interface Thrown {
  kind: ErrorKind;
  message: string;
  retryable?: boolean;
}

/** Worker → page. */
export type Reply<C extends Call = Call> =
  | { id: number; kind: "item"; item: Calls[C]["streams"] }
  | { id: number; kind: "news"; news: Calls[C]["tells"] }
  | { id: number; kind: "done"; value: Calls[C]["returns"] }
  | { id: number; kind: "error"; error: Thrown }
  | { id: 0; kind: "pong" }
  | { id: 0; kind: "recovery"; recovery: Recovery };

/** What a handler is given besides its arguments. */
export interface Line<Item, News> {
  /** Sends news, which nobody has to ask for. */
  tell(news: News): void;
  /** Sends an item; returns when the page wants the next one, and rejects when the call was aborted. */
  emit(item: Item): Promise<void>;
  signal: AbortSignal;
}

/** The worker's side. A call without a handler does not compile. */
export type Handlers = {
  [C in Call]: (
    takes: Calls[C]["takes"],
    line: Line<Calls[C]["streams"], Calls[C]["tells"]>,
  ) => Promise<Calls[C]["returns"]>;
};
