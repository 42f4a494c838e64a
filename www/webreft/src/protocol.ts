/**
 * What is said between a page and the worker that holds its engine.
 *
 * The page sends `Request`s, the worker answers each with any number of items and then one `done` or `error`, all
 * under the request's `id`. Where items are work (training steps, tokens), the worker makes the next one only when the
 * page has asked for it by `more`: a loop that is left or held leaves nothing running.
 */
import type {
  EngineInfo,
  EngineStep,
  Example,
  HeadConfig,
  InspectOptions,
  LoadOptions,
  ReftConfig,
  Sampling,
  Sequence,
  SequencePersona,
  SequencePiece,
  Training,
  Unsaved,
} from "../wasm/webreft.js";
import type { Adapter, Machine } from "./adapter.js";
import type { ErrorKind } from "./error.js";
import type { Opening } from "./files.js";
import type { Inspection } from "./inspection.js";

/** Every call the worker answers: what it takes, what it streams on the way, what it returns. */
export interface Calls {
  probe: { takes: null; streams: never; returns: Machine };
  load: {
    takes: { wasm: WasmSource | undefined; opening: Opening; options: LoadOptions };
    streams: LoadProgress;
    returns: ModelInfo;
  };
  inspect: {
    takes: { wasm: WasmSource | undefined; opening: Opening; options: InspectOptions };
    streams: never;
    returns: Inspection;
  };
  memory: { takes: null; streams: never; returns: Memory };
  bench: { takes: number; streams: never; returns: Record<string, unknown> };
  newReft: { takes: { configs: ReftConfig[]; head: HeadConfig | undefined }; streams: never; returns: number };
  scores: { takes: { reft: number; texts: string[] }; streams: never; returns: number[][] };
  wouldTrain: { takes: ReftConfig[]; streams: never; returns: TrainableParameters };
  trainableParameters: { takes: number; streams: never; returns: TrainableParameters };
  loadReft: {
    takes: Uint8Array<ArrayBuffer>;
    streams: never;
    returns: { reft: number; configs: ReftConfig[]; warnings: string[] };
  };
  importReft: {
    takes: { archive: Uint8Array<ArrayBuffer>; unsaved: Unsaved };
    streams: never;
    returns: { reft: number; configs: ReftConfig[] };
  };
  exportReft: { takes: { reft: number; library: string }; streams: never; returns: Uint8Array<ArrayBuffer> };
  exportScript: {
    takes: { reft: number; examples: Example[]; training: Training };
    streams: never;
    returns: Uint8Array<ArrayBuffer>;
  };
  saveReft: { takes: number; streams: never; returns: Uint8Array<ArrayBuffer> };
  removeReft: { takes: number; streams: never; returns: null };
  generate: { takes: { sequences: Sequence[]; sampling: Sampling }; streams: SequencePiece; returns: null };
  /** Of the answers under way the last one. */
  switch: { takes: SequencePersona[]; streams: never; returns: null };
  train: {
    takes: { reft: number; examples: Example[]; training: Training; checkpointSeconds: number | undefined };
    streams: TrainedStep;
    returns: null;
  };
  resume: {
    takes: { checkpoint: Uint8Array<ArrayBuffer>; examples: Example[]; checkpointSeconds: number | undefined };
    streams: TrainedStep | { reft: number; configs: ReftConfig[] };
    returns: null;
  };
  trainStep: { takes: { reft: number; examples: Example[]; training: Training }; streams: never; returns: TrainStep };
}

export type Call = keyof Calls;

/** A model that is loaded, and the machine it runs on. */
export interface ModelInfo extends EngineInfo {
  /** The GPU it runs on; absent where the CPU computes. */
  adapter?: Adapter;
  /** What is to be known about how it was loaded: why it is not stored, why it runs on the CPU. */
  warnings: string[];
}

/** Where loading stands. */
export interface LoadProgress {
  /**
   * Waiting for another tab that loads the same model; fetching files; comparing their hashes with the Hub's; reading headers; moving
   * weights into the machine's memory; compiling kernels for the GPU; comparing the GPU with the CPU. Phases that are not needed are
   * left out.
   */
  phase: "waiting" | "download" | "verify" | "header" | "weights" | "compile" | "check";
  /** What is done of this phase: bytes, and in `compile` and `check` kernels. */
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

/** One step of training, after it. */
export interface TrainStep extends EngineStep {
  /** How long it took to hear of it; the next step may have been made in that time, too. */
  seconds: number;
  /** Tokens per second of the epoch so far; at its end with its validation, if there is one. */
  tokensPerSecond: number;
}

/** A step on its way to the page, with the checkpoint after an epoch where checkpoints are wanted. */
export interface TrainedStep extends TrainStep {
  checkpoint?: Uint8Array<ArrayBuffer>;
}

/** Where the wasm file is, if not beside the worker: its address, its bytes, or the compiled module. */
export type WasmSource = string | ArrayBuffer | Uint8Array<ArrayBuffer> | WebAssembly.Module;

/** Page → worker. */
export type Request =
  | { [C in Call]: { id: number; call: C; takes: Calls[C]["takes"] } }[Call]
  | { id: number; call: "more" }
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
  | { id: number; kind: "done"; value: Calls[C]["returns"] }
  | { id: number; kind: "error"; error: Thrown };

/** What a handler is given besides its arguments. */
export interface Line<Item> {
  /** Sends an item. */
  tell(item: Item): void;
  /** Sends an item; returns when the page wants the next one, and rejects when the call was aborted. */
  emit(item: Item): Promise<void>;
  signal: AbortSignal;
}

/** The worker's side. A call without a handler does not compile. */
export type Handlers = {
  [C in Call]: (takes: Calls[C]["takes"], line: Line<Calls[C]["streams"]>) => Promise<Calls[C]["returns"]>;
};
