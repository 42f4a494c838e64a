/** What every public call takes: a check for each field of each public type. Whether a value makes sense, the engine says. */
import type {
  InspectOptions as EngineInspectOptions,
  LoadOptions as EngineLoadOptions,
  Example,
  HeadConfig,
  Message,
  ReftConfig,
  Sampling,
  StatesAt,
  Steering,
  Training,
  Unsaved,
} from "../wasm/webreft.js";
import {
  bytes,
  type Check,
  type Checks,
  callback,
  count,
  countFromOne,
  data,
  flag,
  isBytes,
  isPlatform,
  list,
  listOr,
  needed,
  notNegative,
  number,
  object,
  oneOrMore,
  record,
  seed,
  signal,
  text,
  textAs,
  view,
  worker,
} from "./checks.js";
import type {
  GenerateOptions,
  InspectOptions,
  LoadOptions,
  OpenOptions,
  RunOptions,
  SteerOptions,
  StepOptions,
  TrainOptions,
} from "./model.js";
import type { WasmSource } from "./protocol.js";
import type { HubSource, ModelSource } from "./source.js";

const message = object<Message>({ role: needed(text), content: needed(text) }, "a message with role and content");

/** A text or a conversation. */
export const prompt = listOr(message, textAs("a text or a list of messages"));

/** Characters of a text that no context of so many tokens holds: no tokenizer has a token of more than 256. */
export function longestText(contextLength: number): number {
  return 256 * contextLength;
}

const url: Check<string | URL> = (value, at) => {
  if (!isPlatform("URL", value)) return textAs("a text or a URL")(value, at);
  return new URL((value as URL).href);
};

const address: Check<URL> = (value, at) => {
  const given = url(value, at);
  try {
    return absolute(given);
  } catch {
    throw at.wrong("an address", String(given));
  }
};

/** The page's own address. */
export function pageAddress(): string | undefined {
  return globalThis.document?.baseURI ?? globalThis.location?.href;
}

/** An address as the page means it: a worker would read it from its own place. */
export function absolute(url: string | URL): URL {
  return new URL(url, pageAddress());
}

/** A token goes into a header, which holds visible ASCII. */
const token: Check<string> = (value, at) => {
  const given: string = text(value, at);
  if (!/^[!-~]*$/.test(given)) throw at.error("expected a token of visible ASCII characters");
  return given;
};

const wasm: Check<URL | WasmSource> = (value, at) => {
  if (typeof value === "string" || isPlatform("URL", value)) return address(value, at);
  if (isBytes(value)) return bytes(value, at);
  if (isModule(value)) return value;
  throw at.wrong("an address, the bytes of the wasm file, or a WebAssembly.Module", value);
};

function isModule(value: unknown): value is WebAssembly.Module {
  try {
    return WebAssembly.Module.customSections(value as WebAssembly.Module, "").length >= 0;
  } catch {
    return false;
  }
}

const blob: Check<Blob> = (value, at) => {
  if (!isPlatform("Blob", value)) throw at.wrong("a File", value);
  return value as Blob;
};

/** A file that goes to the engine whole. */
const fileBlob: Check<Blob> = (value, at) => {
  const file = blob(value, at);
  at.takeBytes(file.size);
  return file;
};

const hubSource = object<HubSource>(
  { repository: needed(text), revision: text, quantization: text, file: text },
  "an address, a repository, a File or Blob, a list of Files, or bytes",
);

/** Where a model is. A file's bytes may be as many as the browser holds. */
export const source: Check<ModelSource> = (value, at) => {
  if (typeof value === "string" || isPlatform("URL", value)) return url(value, at);
  if (at.read(() => Array.isArray(value))) return list(blob as Check<File>)(value, at);
  if (isPlatform("Blob", value)) return value as Blob;
  if (isBytes(value)) return view(value, at);
  return hubSource(value, at);
};

export const workerOnly = object<{ worker?: Worker }>({ worker });
export const parsing = object<Pick<OpenOptions, "wasm" | "worker">>({ wasm, worker });

const OPEN: Checks<OpenOptions> = { endpoint: address, token, signal, wasm, worker };

const MACHINE: Checks<Pick<EngineInspectOptions & EngineLoadOptions, "backend" | "contextLength" | "quantize">> = {
  backend: text,
  contextLength: count,
  quantize: text,
};

export const inspectOptions = object<InspectOptions>({ ...OPEN, ...MACHINE, trainTokens: count, trainBatch: count });

export const loadOptions = object<LoadOptions>({
  ...OPEN,
  ...MACHINE,
  chatTemplate: text,
  now: text,
  templateVariables: record,
  cache: flag,
  onProgress: callback,
  onRecovery: callback,
});

/** Numbers of layers, or a word of the engine's. */
const layers = listOr<number, never>(count, text);

const CONFIG: Checks<ReftConfig> = {
  kind: text,
  layers,
  component: oneOrMore(text),
  heads: list(count),
  rank: count,
  positions: text,
  tied: flag,
  shared: flag,
  act: text,
  addBias: flag,
  alpha: number,
  rslora: flag,
  virtualTokens: count,
  encoder: count,
  sourceLayer: count,
  seed,
};

export const configs = oneOrMore(object(CONFIG));

export const head = object<HeadConfig>({ outputs: count, classes: list(text), bias: flag, pooling: text, seed });

const RUN: Checks<RunOptions> = { onProgress: callback, signal };
export const runOptions = object(RUN);

const STEERING: Checks<Steering> = {
  layers,
  component: oneOrMore(text),
  positions: text,
  read: text,
  method: text,
};
export const steerOptions = object<SteerOptions>({ ...STEERING, ...RUN });
export const pairs = list(object({ positive: needed(prompt), negative: needed(prompt) }, "a pair"), "a list of pairs");

export const places = oneOrMore(
  object<StatesAt>({ layers, component: oneOrMore(text), heads: list(count), positions: text }),
);

export const unsaved = object<Unsaved>({ positions: text, act: text, kind: text });

/** Examples by whatever form the engine's reader knows; it names fields that belong to none. */
export const examples = list(record, "a list of examples") as Check<unknown> as Check<Example[]>;
export const texts = list(text, "a list of texts");

const TRAINING: Checks<Training> = {
  epochs: count,
  batchSize: count,
  learningRate: number,
  optimizer: text,
  weightDecay: number,
  maxGradNorm: number,
  atOnce: count,
  beta: number,
  preferenceLoss: text,
  strengths: list(number),
  schedule: text,
  warmupSteps: count,
  validation: number,
  patience: count,
  keepBest: flag,
  dropout: number,
  seed,
};
const STEP: Checks<StepOptions> = { onProgress: callback, signal };

export const training = object(TRAINING);
export const stepOptions = object<Training & StepOptions>({ ...TRAINING, ...STEP });
export const trainOptions = object<TrainOptions>({
  ...TRAINING,
  ...STEP,
  onWarning: callback,
  onCheckpoint: callback,
  checkpointSeconds: notNegative,
});

const SAMPLING: Checks<Sampling> = {
  maxTokens: count,
  temperature: number,
  topK: count,
  topP: number,
  minP: number,
  seed: count,
  stop: list(text),
};

export const GENERATE: Checks<Omit<GenerateOptions, "reft">> = {
  ...SAMPLING,
  tools: list(data),
  documents: list(data),
  templateVariables: record,
  onProgress: callback,
  signal,
};

export const benchOptions = object<{ tokens?: number; sequences?: number }>({
  tokens: countFromOne,
  sequences: countFromOne,
});

/** A file of examples: its text, or itself. */
export const exampleFile: Check<string | Blob> = (value, at) =>
  isPlatform("Blob", value) ? fileBlob(value, at) : textAs("a text or a File")(value, at);
