/** The public face: a model, and the interventions on it. */
import type {
  ContrastPair,
  InspectOptions as EngineInspectOptions,
  LoadOptions as EngineLoadOptions,
  Example,
  Finish,
  HeadConfig,
  Prompt,
  ReftConfig,
  Sampling,
  Sequence,
  SequencePersona,
  StatesAt,
  Steering,
  Training,
  Unsaved,
} from "../wasm/webreft.js";
import type { Machine } from "./adapter.js";
import * as args from "./arguments.js";
import { Callbacks } from "./callbacks.js";
import {
  bytes,
  type Check,
  check,
  checkText,
  checkTexts,
  count,
  list,
  needed,
  number,
  object,
  oneOrMore,
  text,
} from "./checks.js";
import { Client } from "./client.js";
import { WebReftError } from "./error.js";
import type { Opening } from "./files.js";
import type { Inspection } from "./inspection.js";
import type {
  ExampleData,
  HiddenStates,
  LoadProgress,
  Memory,
  ModelInfo,
  PrefillProgress,
  Recovery,
  RunProgress,
  StepProgress,
  TrainableParameters,
  TrainNews,
  TrainStep,
  WasmSource,
} from "./protocol.js";
import { HUB, type ModelSource, readSource } from "./source.js";
import { models } from "./stored.js";

/** How a model is opened, to be loaded or inspected. */
export interface OpenOptions {
  /** The Hub's address, where it is another than https://huggingface.co. */
  endpoint?: string | URL;
  /** The Hub's access token, for repositories that are gated or private. Only the endpoint's own origin sees it. */
  token?: string;
  /** Ends it. What was downloaded until then is kept, and gone on with. */
  signal?: AbortSignal;
  /** The wasm file, where a bundler or a strict page cannot find it beside the worker. */
  wasm?: URL | WasmSource;
  /** The worker, where a page makes its own: `new Worker(new URL("webreft/worker", …), { type: "module" })`. */
  worker?: Worker;
}

/** How a model is loaded. */
export interface LoadOptions extends Omit<EngineLoadOptions, "templateVariables">, OpenOptions {
  /** What chat templates see besides the messages, such as `date_string` or `enable_thinking`, in the order in which they write it. */
  templateVariables?: Record<string, unknown>;
  /** Whether what comes from the network is stored, so that it is fetched once; true if left out. Where it cannot be, `info.warnings` say why. */
  cache?: boolean;
  /** Hears of bytes read, often. */
  onProgress?: (progress: LoadProgress) => void;
  /** Hears when the machine is lost while the model is used, and when the model is there again: until then calls wait, and fail only if it cannot be. */
  onRecovery?: (recovery: Recovery) => void;
}

/** How a model is inspected. */
export interface InspectOptions extends EngineInspectOptions, OpenOptions {}

/** Interventions, not quite as they were trained. */
export interface Persona {
  reft: Reft;
  /** What edits are multiplied by: 1 as trained, 0 not at all, −1 the other way. */
  strength?: number;
  /** The dimensions of each subspace that are edited; all of them if left out. */
  subspace?: number[];
  /** For kinds that take hidden states of another run, such as `interchange`: what the bare model reads there. */
  source?: Prompt;
  /** The source's tokens that are read, as many as are edited; those that the interventions' own positions name if left out. */
  sourcePositions?: string;
}

/** How an answer is made. */
export interface GenerateOptions extends Sampling {
  /** Functions that the model may call, as the chat template writes them: JSON schemas, mostly. */
  tools?: unknown[];
  /** Documents that the model is to answer from, as the chat template writes them: mostly objects with `title` and `text`. */
  documents?: unknown[];
  /** What else the chat template sees; each name wins over the one that the model was loaded with. */
  templateVariables?: Record<string, unknown>;
  /** The interventions it is made with, or several that work together; the bare model if left out. */
  reft?: Who;
  /** Hears how much of the prompt is read, about ten times a second. */
  onProgress?: (progress: PrefillProgress) => void;
  /** Ends the answer, also while the prompt is read. Leaving the loop does, too. */
  signal?: AbortSignal;
}

/** The next bit of an answer. */
export interface Piece {
  /** The token. */
  id: number;
  /** The text that has become certain with it; may be empty. */
  text: string;
  /** Set on the last piece: why the answer ended. */
  finish?: Finish;
}

/** The next bit of one of two answers. */
export interface ComparedPiece extends Piece {
  /** Which: the bare model's, or the one with interventions. */
  side: "base" | "reft";
}

/** How a run over texts is watched and ended. */
export interface RunOptions {
  /** Hears how far it is, about ten times a second. */
  onProgress?: (progress: RunProgress) => void;
  /** Ends it. */
  signal?: AbortSignal;
}

/** How steering vectors are found, and where they stand. */
export interface SteerOptions extends Partial<Steering>, RunOptions {}

/** How a training step is watched and ended. */
export interface StepOptions {
  /** Hears how far a step is, and what comes before and after it, about ten times a second. */
  onProgress?: (progress: StepProgress) => void;
  /** Ends the work in the middle of a step, which then moves nothing. */
  signal?: AbortSignal;
}

/** How a training is watched and ended. */
export interface WatchOptions extends StepOptions {
  /** Hears what of the examples is not learned, before the first step: turns that the chat template leaves out, say. */
  onWarning?: (warning: string) => void;
  /**
   * Given after each epoch, and after the last whole step where the training is ended before its end: all that {@link WebReft.resume}
   * wants to go on from there, bit for bit on the same device.
   */
  onCheckpoint?: (checkpoint: Uint8Array<ArrayBuffer>) => void;
  /** Seconds from one checkpoint to the next at least: making one holds the training up. 0 if left out. */
  checkpointSeconds?: number;
}

/** How interventions are trained. */
export interface TrainOptions extends Training, WatchOptions {}

/** Tells who would compute here, and why, without loading anything. */
export async function probe(options: { worker?: Worker } = {}): Promise<Machine> {
  const { worker } = check("options", options, args.workerOnly);
  const client = new Client(worker);
  try {
    return await client.call("probe", null);
  } finally {
    const over = new WebReftError("aborted", "the probe is over");
    client.end(over, over);
  }
}

/**
 * Reads training examples from a text or a file: JSON lines, a JSON array, CSV or TSV with a header, in the forms that the package's README
 * lists.
 *
 * @throws {WebReftError} `input` for what is no example, with the line of each fault, `file` for a file that is no text.
 */
export async function parseExamples(
  source: string | Blob,
  options: Pick<OpenOptions, "wasm" | "worker"> = {},
): Promise<ExampleData> {
  const { wasm, worker } = check("options", options, args.parsing);
  const bytes = await bytesOf(checkTexts("source", source, args.exampleFile));
  const client = new Client(worker);
  try {
    return await client.call("parseExamples", { wasm: wasmOf(wasm), bytes });
  } finally {
    const over = new WebReftError("aborted", "the examples are read");
    client.end(over, over);
  }
}

async function bytesOf(source: string | Blob): Promise<Uint8Array<ArrayBuffer>> {
  if (typeof source === "string") return new TextEncoder().encode(source);
  try {
    return new Uint8Array(await source.arrayBuffer());
  } catch (cause) {
    throw new WebReftError("file", `source: reading the file failed: ${cause}`, { cause });
  }
}

/** A model in a worker of its own, on the GPU or on the CPU. It answers one call at a time. */
export class WebReft {
  readonly #client: Client;
  /** Characters of a text that the context never holds. */
  readonly #longest: number;
  readonly #who: Check<Who>;
  #info: ModelInfo;

  private constructor(client: Client, info: ModelInfo, onRecovery: LoadOptions["onRecovery"]) {
    this.#client = client;
    this.#info = info;
    this.#longest = args.longestText(info.nCtx);
    this.#who = whoOn(client);
    client.onRecovery = (recovery) => {
      if (recovery.state === "back") this.#info = recovery.info;
      onRecovery?.(recovery);
    };
  }

  /** What was loaded, and on what it runs now. */
  get info(): ModelInfo {
    return this.#info;
  }

  /** The models that the browser has stored: listed, removed, and how much room there is. */
  static readonly models = models;

  /**
   * Tells what a model is and whether it fits this device, from the headers of its files. Nothing is stored.
   *
   * @throws {WebReftError} as {@link load}; a model that would not load is told in the result.
   */
  static async inspect(source: ModelSource, options: InspectOptions = {}): Promise<Inspection> {
    const { wasm, worker, endpoint, token, signal, ...how } = check("options", options, args.inspectOptions);
    const opening = openingOf(check("source", source, args.source), { endpoint, token }, false);
    const client = new Client(worker);
    try {
      return await client.call("inspect", { wasm: wasmOf(wasm), opening, options: how }, { signal });
    } finally {
      const over = new WebReftError("aborted", "the inspection is over");
      client.end(over, over);
    }
  }

  /**
   * Loads a model. What comes from the network is stored, checked by SHA-256 where the Hub tells it, and fetched once; a download that was
   * broken off is gone on with. While another tab loads the same model, this one waits.
   *
   * It runs on a real GPU where the browser offers one, else on the CPU; `backend` asks for one of them.
   *
   * @throws {WebReftError} `unsupported` for a model webreft does not know, `device` without memory for it or without the GPU that
   * `backend` asks for, `file` for a file that is damaged or cannot be read, `input` for a source or an option that is none, `aborted`.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<WebReft> {
    const checked = check("options", options, args.loadOptions);
    const { wasm, worker, endpoint, token, cache = true, signal, onProgress, onRecovery, ...rest } = checked;
    const { templateVariables, ...how } = rest;
    const opening = openingOf(check("source", source, args.source), { endpoint, token }, cache);
    const client = new Client(worker);
    const variables = templateVariables && JSON.stringify(templateVariables);
    const takes = { wasm: wasmOf(wasm), opening, options: { ...how, templateVariables: variables } };
    const calls = new Callbacks(signal);
    const listening = { signal: calls.signal, news: calls.of("onProgress", onProgress) };
    try {
      return new WebReft(client, await calls.call(client.call("load", takes, listening)), onRecovery);
    } catch (error) {
      const over = new WebReftError("aborted", "the model was not loaded");
      client.end(over, over);
      throw error;
    }
  }

  /**
   * Makes new interventions, of one kind or of several that are trained together, and a head for classes, numbers or rewards. A
   * configuration that the model cannot have is told by the first call that uses them.
   *
   * @throws {WebReftError} `input`, at once, for a field that is unknown or has a value of another type.
   */
  reft(config: ReftConfig | ReftConfig[], head?: HeadConfig): Reft {
    const configs = [check("config", config, args.configs)].flat();
    const checked = head === undefined ? undefined : check("head", head, args.head);
    const number = this.#client.call("newReft", { configs, head: checked });
    return new Reft(this.#client, this.#longest, configs, number, checked?.classes);
  }

  /**
   * Finds steering vectors from contrast pairs: for each layer the direction that leads from the negative sides to the positive ones. They are
   * interventions as others are, applied with a `strength`, which may be negative.
   *
   * @throws {WebReftError} `input` for pairs that do not differ or are too long (all of them are named), or an option that makes no sense.
   */
  async steer(pairs: ContrastPair[], options: SteerOptions = {}): Promise<Reft> {
    const { signal, onProgress, ...steering } = check("options", options, args.steerOptions);
    const takes = { pairs: checkTexts("pairs", pairs, args.pairs, this.#longest), options: steering };
    const calls = new Callbacks(signal);
    const listening = { signal: calls.signal, news: calls.of("onProgress", onProgress) };
    const { reft, configs, classes } = await calls.call(this.#client.call("steer", takes, listening));
    return new Reft(this.#client, this.#longest, configs, Promise.resolve(reft), classes);
  }

  /**
   * Reads hidden states of a text out of the bare model, as pyvene's `CollectIntervention`: of each place the tokens that it names.
   *
   * @throws {WebReftError} `input` for a place that the model does not have, or where the text has no token.
   */
  async hiddenStates(
    text: Prompt,
    places: StatesAt | StatesAt[] = {},
    options: RunOptions = {},
  ): Promise<HiddenStates[]> {
    const { signal, onProgress } = check("options", options, args.runOptions);
    const takes = {
      text: checkText("text", text, args.prompt, this.#longest),
      places: [check("places", places, args.places)].flat(),
    };
    const calls = new Callbacks(signal);
    const listening = { signal: calls.signal, news: calls.of("onProgress", onProgress) };
    return calls.call(this.#client.call("hiddenStates", takes, listening));
  }

  /**
   * How many numbers such interventions would train, and their share of the model.
   *
   * @throws {WebReftError} `input` for a configuration that the model cannot have.
   */
  async wouldTrain(config: ReftConfig | ReftConfig[]): Promise<TrainableParameters> {
    return this.#client.call("wouldTrain", [check("config", config, args.configs)].flat());
  }

  /**
   * Loads interventions that were saved. If the model's tokenizer or chat template is another than it was then, their `warnings` say so.
   *
   * @throws {WebReftError} `file` for bytes that are not such a file, `input` for interventions on another model.
   */
  async loadReft(file: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<Reft> {
    const checked = check("file", file, bytes);
    const { reft, configs, classes, warnings } = await this.#client.call("loadReft", checked);
    return new Reft(this.#client, this.#longest, configs, Promise.resolve(reft), classes, warnings);
  }

  /**
   * Loads interventions from a `.zip` of a directory that pyreft (`ReftModel.save`, or its trainer) or peft (LoRA, (IA)³, prompt tuning,
   * P-tuning, prefix tuning) wrote, or from a control vector of llama.cpp or repeng (`.gguf`). Where tensors are left out, `warnings` say so.
   *
   * @throws {WebReftError} `file` for bytes that are no such archive, `unsupported` for what webreft does not have, `input` for
   * interventions that do not fit the model.
   */
  async importReft(archive: ArrayBuffer | Uint8Array<ArrayBuffer>, unsaved: Unsaved = {}): Promise<Reft> {
    const takes = {
      archive: check("archive", archive, bytes),
      unsaved: check("unsaved", unsaved, args.unsaved),
    };
    const { reft, configs, classes, warnings } = await this.#client.call("importReft", takes);
    return new Reft(this.#client, this.#longest, configs, Promise.resolve(reft), classes, warnings);
  }

  /**
   * Goes on with a training on the same examples from a checkpoint, as if it had never been left. The interventions come first. The
   * training's options are in the checkpoint; those that are given must be the same.
   *
   * @throws {WebReftError} `file` for bytes that are no checkpoint, `input` for one of other examples, other options (with all that
   * differs) or another model.
   */
  async resume(
    checkpoint: ArrayBuffer | Uint8Array<ArrayBuffer>,
    examples: Example[],
    options: TrainOptions = {},
  ): Promise<{ reft: Reft; steps: AsyncGenerator<TrainStep, void, undefined> }> {
    const { watch, training } = trainingOf(options);
    const takes = {
      checkpoint: check("checkpoint", checkpoint, bytes),
      examples: checkTexts("examples", examples, args.examples, this.#longest),
      training,
      checkpointSeconds: checkpointSeconds(watch),
    };
    const calls = new Callbacks(watch.signal);
    const listening = { signal: calls.signal, news: newsFor(watch, calls) };
    const stream = calls.stream(this.#client.stream("resume", takes, listening));
    const first = await stream.next();
    if (first.done || !("reft" in first.value)) throw new WebReftError("bug", "the training did not begin");
    const { reft, configs, classes } = first.value;
    async function* steps() {
      for await (const step of stream) if ("step" in step) yield step;
    }
    return { reft: new Reft(this.#client, this.#longest, configs, Promise.resolve(reft), classes), steps: steps() };
  }

  /** Answers, piece by piece. Leaving the loop stops the work. */
  async *generate(prompt: Prompt, options: GenerateOptions = {}): AsyncGenerator<Piece, void, undefined> {
    const checked = check("options", options, object<GenerateOptions>({ ...args.GENERATE, reft: this.#who }));
    const { reft, signal, onProgress, tools, documents, templateVariables, ...sampling } = checked;
    const text = checkText("prompt", prompt, args.prompt, this.#longest);
    const sequences = [await sequence(text, reft, { ...templateVariables, tools, documents })];
    const calls = new Callbacks(signal);
    const listening = { signal: calls.signal, news: calls.of("onProgress", onProgress) };
    for await (const piece of calls.stream(this.#client.stream("generate", { sequences, sampling }, listening))) {
      const { id, text, finish } = piece;
      yield finish ? { id, text, finish } : { id, text };
    }
  }

  /** Answers, as one text. */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<string> {
    let text = "";
    for await (const piece of this.generate(prompt, options)) text += piece.text;
    return text;
  }

  /** Answers twice from one batched pass: as the bare model does, and with interventions. */
  async *compare(
    prompt: Prompt,
    options: GenerateOptions & { reft: Who },
  ): AsyncGenerator<ComparedPiece, void, undefined> {
    const comparing = object<GenerateOptions & { reft: Who }>({ ...args.GENERATE, reft: needed(this.#who) });
    const checked = check("options", options, comparing);
    const { reft, signal, onProgress, tools, documents, templateVariables, ...sampling } = checked;
    const text = checkText("prompt", prompt, args.prompt, this.#longest);
    const variables = { ...templateVariables, tools, documents };
    const sequences = [await sequence(text, undefined, variables), await sequence(text, reft, variables)];
    const calls = new Callbacks(signal);
    const listening = { signal: calls.signal, news: calls.of("onProgress", onProgress) };
    for await (const piece of calls.stream(this.#client.stream("generate", { sequences, sampling }, listening))) {
      const { sequence, id, text, finish } = piece;
      const side = sequence === 0 ? "base" : "reft";
      yield finish ? { side, id, text, finish } : { side, id, text };
    }
  }

  /**
   * Inside the loop over an answer: from its next token on others edit it, or nobody. In {@link compare} the answer with
   * interventions is meant. Edits of the prompt stay as they were made.
   *
   * @throws {WebReftError} `input` where no answer is under way, or for interventions that cannot be.
   */
  async switch(who?: Who): Promise<void> {
    const checked = who === undefined ? undefined : check("who", who, this.#who);
    await this.#client.call("switch", await personas(checked));
  }

  /** Bytes in use, on the GPU and in the wasm heap. */
  memory(): Promise<Memory> {
    return this.#client.call("memory", null);
  }

  /**
   * Measures decode, prefill and a training step: medians of three runs, with a prompt and a training batch of so many tokens, the batch
   * divided among so many sequences.
   *
   * @throws {WebReftError} `input` for more tokens than the context holds beside an answer of 64.
   */
  async bench(options: { tokens?: number; sequences?: number } = {}): Promise<Record<string, unknown>> {
    const { tokens = 64, sequences = 1 } = check("options", options, args.benchOptions);
    return this.#client.call("bench", { tokens, sequences });
  }

  /** Ends everything at once: calls under way fail with `aborted`, memory and GPU are given back. Twice is no harm. */
  async dispose(): Promise<void> {
    const now = new WebReftError("aborted", "aborted: the model was disposed");
    this.#client.end(now, new WebReftError("input", "the model was disposed"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** A set of interventions on a model. */
export class Reft {
  /** What was asked for. */
  readonly configs: ReftConfig[];
  /** The names of the head's classes, in the order of {@link scores}; none where they have no names. */
  readonly classes: readonly string[];
  /** What is other with the model than it was when they were saved: its tokenizer, its chat template. */
  readonly warnings: readonly string[];
  readonly #client: Client;
  readonly #longest: number;
  readonly #number: Promise<number>;

  /** @internal Made by {@link WebReft.reft} and {@link WebReft.loadReft}. */
  constructor(
    client: Client,
    longest: number,
    configs: ReftConfig[],
    number: Promise<number>,
    classes: string[] = [],
    warnings: string[] = [],
  ) {
    this.#client = client;
    this.#longest = longest;
    this.configs = configs;
    this.classes = classes;
    this.warnings = warnings;
    this.#number = number;
    // Told by the call that uses it; until then it is not an unhandled rejection.
    number.catch(() => {});
  }

  /**
   * Trains, step by step. A step is made when the loop asks for it. Leaving the loop keeps what was learned, and so does `signal`, which
   * ends it in the middle of a step.
   */
  async *train(examples: Example[], options: TrainOptions = {}): AsyncGenerator<TrainStep, void, undefined> {
    const { watch, training } = trainingOf(options);
    const checked = checkTexts("examples", examples, args.examples, this.#longest);
    const reft = await this.#number;
    const takes = { reft, examples: checked, training, checkpointSeconds: checkpointSeconds(watch) };
    const calls = new Callbacks(watch.signal);
    const listening = { signal: calls.signal, news: newsFor(watch, calls) };
    yield* calls.stream(this.#client.stream("train", takes, listening));
  }

  /** Trains one step on all of the given examples. The optimizer goes on from step to step. */
  async trainStep(examples: Example[], options: Training & StepOptions = {}): Promise<TrainStep> {
    const { signal, onProgress, ...training } = check("options", options, args.stepOptions);
    const checked = checkTexts("examples", examples, args.examples, this.#longest);
    const takes = { reft: await this.#number, examples: checked, training };
    const calls = new Callbacks(signal);
    const listening = { signal: calls.signal, news: newsFor({ onProgress }, calls) };
    return calls.call(this.#client.call("trainStep", takes, listening));
  }

  /** What a trained head says of texts: its scores for each, in the order of {@link classes}. */
  async scores(texts: string[]): Promise<number[][]> {
    const checked = checkTexts("texts", texts, args.texts, this.#longest);
    return this.#client.call("scores", { reft: await this.#number, texts: checked });
  }

  /** How many numbers are trained, and their share of the model. */
  async trainableParameters(): Promise<TrainableParameters> {
    return this.#client.call("trainableParameters", await this.#number);
  }

  /** The interventions as a file: safetensors, a few kilobytes. */
  async save(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#client.call("saveReft", await this.#number);
  }

  /** The interventions as a `.zip` of the directory that pyreft or peft would write, or steering vectors as llama.cpp's control vector (`.gguf`). */
  async export(library: "pyreft" | "peft" | "llama.cpp"): Promise<Uint8Array<ArrayBuffer>> {
    const checked = check("library", library, text);
    return this.#client.call("exportReft", { reft: await this.#number, library: checked });
  }

  /**
   * The training of interventions like these on examples, as a `.zip` of a Python script for pyreft with the data, the settings and the
   * random start; what it trains comes back by {@link WebReft.importReft}.
   *
   * @throws {WebReftError} `unsupported` for what pyreft does not have.
   */
  async exportScript(examples: Example[], training: Training = {}): Promise<Uint8Array<ArrayBuffer>> {
    const takes = {
      examples: checkTexts("examples", examples, args.examples, this.#longest),
      training: check("training", training, args.training),
    };
    return this.#client.call("exportScript", { reft: await this.#number, ...takes });
  }

  /** Gives their memory back. */
  async dispose(): Promise<void> {
    await this.#client.call("removeReft", await this.#number);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** @internal What the engine calls them. */
  static number(reft: Reft): Promise<number> {
    return reft.#number;
  }

  /** @internal The client of their model; undefined for what is no set of interventions. */
  static clientOf(value: unknown): Client | undefined {
    return typeof value === "object" && value !== null && #client in value ? value.#client : undefined;
  }
}

/** Who edits an answer. */
type Who = Reft | Persona | (Reft | Persona)[];

/** Checks who edits an answer of a client's model. */
function whoOn(client: Client): Check<Who> {
  const reft: Check<Reft> = (value, at) => {
    const owner = Reft.clientOf(value);
    if (owner === client) return value as Reft;
    throw owner ? at.error("expected interventions on this model, got another model's") : at.wrong("a Reft", value);
  };
  const persona = object<Persona>(
    {
      reft: needed(reft),
      strength: number,
      subspace: list(count),
      source: args.prompt,
      sourcePositions: text,
    },
    "a Reft, or an object with one",
  );
  return oneOrMore<Reft | Persona>((value, at) => (Reft.clientOf(value) ? reft : persona)(value, at));
}

async function sequence(prompt: Prompt, who: Who | undefined, variables: Record<string, unknown>): Promise<Sequence> {
  const given = Object.values(variables).some((value) => value !== undefined);
  return { prompt, personas: await personas(who), ...(given && { variables: JSON.stringify(variables) }) };
}

async function personas(who: Who | undefined): Promise<SequencePersona[]> {
  const numbered = [who ?? []].flat().map(async (one) => {
    const { reft, ...how } = one instanceof Reft ? { reft: one } : one;
    return { ...how, reft: await Reft.number(reft) };
  });
  return Promise.all(numbered);
}

/** A training's options: those of watching it, and those that the engine knows. */
function trainingOf(options: TrainOptions): { watch: WatchOptions; training: Training } {
  const checked = check("options", options, args.trainOptions);
  const { signal, onProgress, onCheckpoint, onWarning, checkpointSeconds, ...training } = checked;
  return { watch: { signal, onProgress, onCheckpoint, onWarning, checkpointSeconds }, training };
}

/** Undefined where nobody wants checkpoints. */
function checkpointSeconds(options: WatchOptions): number | undefined {
  return options.onCheckpoint && (options.checkpointSeconds ?? 0);
}

/** Where a training's news go. */
function newsFor(options: WatchOptions, calls: Callbacks): (news: TrainNews) => void {
  const onProgress = calls.of("onProgress", options.onProgress);
  const onCheckpoint = calls.of("onCheckpoint", options.onCheckpoint);
  const onWarning = calls.of("onWarning", options.onWarning);
  return (news) => {
    if ("progress" in news) onProgress(news.progress);
    else if ("checkpoint" in news) onCheckpoint(news.checkpoint);
    else onWarning(news.warning);
  };
}

/** A source as it crosses to the worker. */
function openingOf(source: ModelSource, { endpoint = HUB, token }: OpenOptions, cache: boolean): Opening {
  const hub = args.absolute(endpoint).href;
  const request = readSource(source, args.pageAddress(), hub);
  return { source: request, cache, access: { endpoint: hub, ...(token && { token }) } };
}

function wasmOf(wasm: OpenOptions["wasm"]): WasmSource | undefined {
  return wasm instanceof URL ? wasm.href : wasm;
}
