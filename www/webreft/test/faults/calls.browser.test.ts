/**
 * Every public call × every argument and option × hostile values, all of them in the same order each time: each ends in an error of kind
 * `input` that names the argument, the page hears of nothing else, and the model answers as before from as much memory.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Answer,
  type ContrastPair,
  type Example,
  type GenerateOptions,
  type HeadConfig,
  type InspectOptions,
  type LoadOptions,
  type ModelSource,
  type Persona,
  parseExamples,
  probe,
  type Reft,
  type ReftConfig,
  type RunOptions,
  type StatesAt,
  type SteerOptions,
  Store,
  type Training,
  type TrainOptions,
  type Unsaved,
  WebReft,
  WebReftError,
} from "webreft";
import { all, EXAMPLES, failure, LOREFT, load, Q8 } from "../fixtures.js";
import { HOSTILE } from "./hostile.js";

/** The names of hostile values that are right at one place of one call. */
type Legal = readonly string[];

/** An argument, or a field of one: how it is called with a value, a value that is right, and those of the hostile ones that are. */
interface Slot {
  call: string;
  argument: string;
  run(value: unknown): Promise<unknown>;
  good?: unknown;
  legal: Legal;
}

/** What the engine's messages call a field. */
const WORDS: Record<string, string> = {
  contextLength: "context",
  quantize: "quantization",
  pooling: "head",
  read: "positions",
  templateVariables: "variables",
};

const never: Legal = [];
const anyText: Legal = ["a number as text", "nonsense"];
/** A class throws when it is called, which ends the call only where the engine calls it. */
const anyFunction: Legal = ["a function", "an async function", "a class"];
const anyFlag: Legal = ["true"];
const anyCount: Legal = ["2^24", "2^32 - 1"];
const anySeed: Legal = ["2^24", "2^32 - 1", "2^32"];
const share: Legal = ["0.5"];
const notNegative: Legal = ["0.5", "2^24", "2^32 - 1", "2^32", "2^53"];
const anyNumber: Legal = ["-1", ...notNegative];
const place: Legal = ["a number as text"];

/** An address: what lies there is no matter of the arguments. */
const anyAddress: Legal = anyText;

/** Kinds without virtual tokens leave options for these alone. */
const CONFIG: Record<keyof ReftConfig, Legal> = {
  kind: never,
  layers: never,
  component: never,
  heads: never,
  rank: never,
  positions: place,
  tied: anyFlag,
  shared: anyFlag,
  act: never,
  addBias: anyFlag,
  alpha: anyNumber,
  rslora: anyFlag,
  virtualTokens: anyCount,
  encoder: anyCount,
  sourceLayer: never,
  seed: anySeed,
};
const HEAD: Record<keyof HeadConfig, Legal> = {
  outputs: never,
  classes: never,
  bias: anyFlag,
  pooling: never,
  seed: anySeed,
};
const RUN: Record<keyof RunOptions, Legal> = { onProgress: anyFunction, signal: never };
const TRAINING: Record<keyof Training, Legal> = {
  epochs: anyCount,
  batchSize: anyCount,
  learningRate: notNegative,
  optimizer: never,
  weightDecay: notNegative,
  maxGradNorm: notNegative,
  atOnce: anyCount,
  beta: notNegative,
  preferenceLoss: never,
  strengths: never,
  schedule: never,
  warmupSteps: anyCount,
  validation: share,
  patience: never,
  keepBest: never,
  dropout: share,
  seed: anySeed,
};
const WATCH = { ...RUN, onWarning: anyFunction, onCheckpoint: anyFunction, checkpointSeconds: notNegative };
const TRAIN: Record<keyof TrainOptions, Legal> = { ...TRAINING, ...WATCH };
const GENERATE: Record<keyof GenerateOptions, Legal> = {
  maxTokens: anyCount,
  temperature: notNegative,
  topK: anyCount,
  topP: share,
  minP: share,
  seed: anyCount,
  stop: never,
  tools: never,
  documents: never,
  templateVariables: ["an unknown field"],
  reft: never,
  ...RUN,
};
const PERSONA: Record<keyof Persona, Legal> = {
  reft: never,
  strength: anyNumber,
  subspace: never,
  source: never,
  sourcePositions: never,
};
const MACHINE = { backend: never, contextLength: never, quantize: never };
const OPEN = { endpoint: anyText, token: anyText, signal: never, wasm: anyAddress, worker: never };
const LOAD: Record<keyof LoadOptions, Legal> = {
  ...MACHINE,
  ...OPEN,
  chatTemplate: never,
  now: never,
  templateVariables: ["an unknown field"],
  cache: anyFlag,
  onProgress: anyFunction,
  onRecovery: anyFunction,
};
/** What does not load is told in the result. */
const INSPECT: Record<keyof InspectOptions, Legal> = {
  ...MACHINE,
  ...OPEN,
  contextLength: anyCount,
  trainTokens: anyCount,
  trainBatch: never,
};
const STEER: Record<keyof SteerOptions, Legal> = {
  layers: never,
  component: never,
  positions: place,
  read: never,
  method: never,
  ...RUN,
};
const STATES: Record<keyof StatesAt, Legal> = { layers: never, component: never, heads: never, positions: place };
const UNSAVED: Record<keyof Unsaved, Legal> = { positions: never, act: never, kind: never };

let model: WebReft;
let reft: Reft;
let judge: Reft;
let saved: Uint8Array<ArrayBuffer>;
let checkpoint: Uint8Array<ArrayBuffer>;
let archive: Uint8Array<ArrayBuffer>;
let store: Store;

/** The first item of a loop, which is then left. */
async function first<T>(items: AsyncGenerator<T, void, undefined>): Promise<T | undefined> {
  const { value } = await items.next();
  await items.return();
  return value ?? undefined;
}

/** One argument. */
function slot(call: string, argument: string, good: unknown, run: (value: never) => unknown, legal = never): Slot {
  return { call, argument, legal, good, run: async (value) => run(value as never) };
}

/** An argument that is an object, and each of its fields. */
function slots<T extends object>(
  call: string,
  argument: string,
  good: T,
  fields: Record<string, Legal>,
  run: (options: T) => unknown,
): Slot[] {
  const each = Object.entries(fields).map(([field, legal]) => ({
    call,
    argument: field,
    legal,
    run: async (value: unknown) => run({ ...good, [field]: value }),
  }));
  return [slot(call, argument, good, run as (value: never) => unknown), ...each];
}

const CPU = { backend: "cpu" } as const;
const TABLE = "prompt,completion\na,b";
const SHORT = { maxTokens: 1 };
const PAIRS = [{ positive: "one", negative: "two" }];
const PROMPT = "four and";
const MESSAGE = { role: "user", content: PROMPT };

/** Switches inside an answer. */
async function switching(who: Persona) {
  for await (const _ of model.generate(PROMPT, { maxTokens: 2 })) await model.switch(who);
}

/** Resumes for one step. */
async function resuming(bytes: Uint8Array<ArrayBuffer>, examples: Example[], options: TrainOptions = {}) {
  const { reft, steps } = await model.resume(bytes, examples, options);
  await first(steps);
  await reft.dispose();
}

/** Makes interventions, which live as long as their number is read. */
async function making(config: ReftConfig, head?: HeadConfig) {
  const made = model.reft(config, head);
  await made.trainableParameters();
  await made.dispose();
}

const loading = async (source: ModelSource, options: LoadOptions) => (await WebReft.load(source, options)).dispose();
const steering = async (pairs: ContrastPair[], options?: SteerOptions) => (await model.steer(pairs, options)).dispose();
const reading = async (file: Uint8Array<ArrayBuffer>) => (await model.loadReft(file)).dispose();
const importing = async (file: Uint8Array<ArrayBuffer>, options?: Unsaved) =>
  (await model.importReft(file, options)).dispose();

function ofMachines(): Slot[] {
  return [
    slot("load", "source", Q8, (it) => loading(it, CPU), anyAddress),
    ...slots<LoadOptions>("load", "options", CPU, LOAD, (it) => loading(Q8, it)),
    slot("inspect", "source", Q8, (it) => WebReft.inspect(it, CPU), anyAddress),
    ...slots<InspectOptions>("inspect", "options", CPU, INSPECT, (it) => WebReft.inspect(Q8, it)),
    ...slots("probe", "options", {}, { worker: never }, (it) => probe(it)),
    slot("parseExamples", "source", TABLE, (it) => parseExamples(it)),
    ...slots("parseExamples", "options", {}, { worker: never, wasm: anyAddress }, (it) => parseExamples(TABLE, it)),
    slot("models.remove", "id", "none", (it) => WebReft.models.remove(it), anyText),
    slot("Store.open", "name", "bad calls", (it) => Store.open(it), anyText),
    slot("Store.read", "name", "a", (it) => store.read(it), anyText),
    slot("Store.file", "name", "a", (it) => store.file(it), anyText),
    slot("Store.remove", "name", "a", (it) => store.remove(it), anyText),
    slot("Store.write", "name", "a", (it) => store.write(it, new Uint8Array(1)), anyText),
    slot("Store.write", "bytes", new Uint8Array(1), (it) => store.write("a", it)),
  ];
}

function ofModels(): Slot[] {
  const persona: Persona = { reft };
  const both = { ...SHORT, reft };
  return [
    ...slots<ReftConfig>("reft", "config", LOREFT, CONFIG, (it) => making(it)),
    ...slots<ReftConfig>("reft", "config", { kind: "prompt_tuning" }, { virtualTokens: never }, (it) => making(it)),
    ...["p_tuning", "prefix_tuning"].flatMap((kind) =>
      slots<ReftConfig>("reft", "config", { kind }, { virtualTokens: never, encoder: never }, (it) => making(it)),
    ),
    ...["lora", "series_adapter", "boundless_das"].flatMap((kind) =>
      slots<ReftConfig>("reft", "config", { kind }, { rank: never, alpha: anyNumber }, (it) => making(it)),
    ),
    ...slots<HeadConfig>("reft", "head", { outputs: 2 }, HEAD, (it) => making(LOREFT, it)),
    ...slots<ReftConfig>("wouldTrain", "config", LOREFT, CONFIG, (it) => model.wouldTrain(it)),
    slot("steer", "pairs", PAIRS, (it) => steering(it)),
    ...["positive", "negative"].map((side) =>
      slot("steer", side, "three", (it) => steering([{ positive: "one", negative: "two", [side]: it }]), anyText),
    ),
    ...slots<SteerOptions>("steer", "options", {}, STEER, (it) => steering(PAIRS, it)),
    slot("hiddenStates", "text", PROMPT, (it) => model.hiddenStates(it), anyText),
    ...slots<StatesAt>("hiddenStates", "places", {}, STATES, (it) => model.hiddenStates(PROMPT, it)),
    ...slots<RunOptions>("hiddenStates", "options", {}, RUN, (it) => model.hiddenStates(PROMPT, {}, it)),
    slot("loadReft", "file", saved, reading),
    slot("importReft", "archive", archive, (it) => importing(it)),
    ...slots<Unsaved>("importReft", "unsaved", {}, UNSAVED, (it) => importing(archive, it)),
    slot("generate", "prompt", PROMPT, (it) => first(model.generate(it, SHORT)), anyText),
    ...slots("generate", "prompt[0]", MESSAGE, { role: anyText, content: anyText }, (it) =>
      first(model.generate([it], SHORT)),
    ),
    ...slots<GenerateOptions>("generate", "options", SHORT, GENERATE, (it) => first(model.generate(PROMPT, it))),
    ...slots<Persona>("generate", "reft", persona, PERSONA, (it) =>
      first(model.generate(PROMPT, { ...SHORT, reft: it })),
    ),
    slot("complete", "prompt", PROMPT, (it) => model.complete(it, SHORT), anyText),
    ...slots<GenerateOptions>("complete", "options", SHORT, GENERATE, (it) => model.complete(PROMPT, it)),
    slot("compare", "prompt", PROMPT, (it) => first(model.compare(it, both)), anyText),
    ...slots("compare", "options", both, GENERATE, (it) => first(model.compare(PROMPT, it))),
    ...slots<Persona>("switch", "who", persona, PERSONA, switching),
    ...slots("bench", "options", { tokens: 3 }, { tokens: never, sequences: never }, (it) => model.bench(it)),
  ];
}

function ofTrainings(): Slot[] {
  const [example] = EXAMPLES;
  return [
    slot("train", "examples", EXAMPLES, (it) => first(reft.train(it))),
    ...slots<TrainOptions>("train", "options", {}, TRAIN, (it) => first(reft.train(EXAMPLES, it))),
    slot("trainStep", "examples", EXAMPLES, (it) => reft.trainStep(it)),
    ...slots("trainStep", "options", {}, { ...TRAINING, ...RUN }, (it) => reft.trainStep(EXAMPLES, it)),
    ...["prompt", "completion"].map((field) =>
      slot("trainStep", field, "x", (it) => reft.trainStep([{ ...example, [field]: it } as Answer]), anyText),
    ),
    // A field that is null is none, as in tables.
    ...["messages", "chosen", "rejected", "text", "label", "labels", "values", "base", "source"].map((field) =>
      slot("trainStep", field, null, (it) => reft.trainStep([{ ...example, [field]: it } as Answer]), ["null"]),
    ),
    slot("resume", "checkpoint", checkpoint, (it) => resuming(it, EXAMPLES)),
    slot("resume", "examples", EXAMPLES, (it) => resuming(checkpoint, it)),
    ...slots<TrainOptions>("resume", "options", {}, TRAIN, (it) => resuming(checkpoint, EXAMPLES, it)),
    slot("scores", "texts", ["one"], (it) => judge.scores(it)),
    slot("export", "library", "pyreft", (it) => reft.export(it)),
    slot("exportScript", "examples", EXAMPLES, (it) => reft.exportScript(it)),
    ...slots<Training>("exportScript", "training", {}, TRAINING, (it) => reft.exportScript(EXAMPLES, it)),
  ];
}

const escaped: string[] = [];
const heard = (event: ErrorEvent | PromiseRejectionEvent) => {
  event.preventDefault();
  escaped.push(String("reason" in event ? event.reason : event.message));
};

beforeAll(async () => {
  window.addEventListener("error", heard);
  window.addEventListener("unhandledrejection", heard);
  model = await WebReft.load(Q8, { backend: "cpu", chatTemplate: "{{ messages[0].content }}" });
  reft = model.reft(LOREFT);
  const onCheckpoint = (bytes: Uint8Array<ArrayBuffer>) => {
    checkpoint = bytes;
  };
  for await (const { step } of reft.train(EXAMPLES, { epochs: 3, onCheckpoint })) if (step === 2) break;
  judge = model.reft(LOREFT, { outputs: 2 });
  saved = await reft.save();
  archive = await reft.export("pyreft");
  store = await Store.open("bad calls");
});

afterAll(async () => {
  window.removeEventListener("error", heard);
  window.removeEventListener("unhandledrejection", heard);
  await model.dispose();
  await (await navigator.storage.getDirectory()).removeEntry("bad calls", { recursive: true });
});

/** How a call that is bad ended otherwise than it should; undefined if it did not. */
async function fault({ call, argument, run }: Slot, name: string, value: unknown): Promise<string | undefined> {
  const said = `${call}, ${argument}: ${name}`;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("did not settle in 5 s")), 5000);
  });
  try {
    await Promise.race([run(value), late]);
    return `${said}: accepted`;
  } catch (error) {
    if (!(error instanceof WebReftError)) return `${said}: ${error}`;
    if (error.kind !== "input") return `${said}: ${error.kind}: ${error.message}`;
    const named = error.message.includes(argument) || error.message.includes(WORDS[argument] ?? argument);
    return named ? undefined : `${said}: does not name it: ${error.message}`;
  } finally {
    clearTimeout(timer);
  }
}

const GREEDY = { maxTokens: 16 };

test("bad calls are refused by the argument's name, and leave the model as it was", { timeout: 300_000 }, async () => {
  const slots = [...ofMachines(), ...ofModels(), ...ofTrainings()];
  for (const { good, run } of slots) if (good !== undefined) await run(good);
  const reft = await model.loadReft(saved);
  const answer = await model.complete(PROMPT, { ...GREEDY, reft });
  const memory = await model.memory();

  const faults: string[] = [];
  let calls = 0;
  for (const slot of slots) {
    for (const [name, make] of Object.entries(HOSTILE)) {
      if (slot.legal.includes(name)) continue;
      calls += 1;
      const wrong = await fault(slot, name, make());
      if (wrong) faults.push(wrong);
    }
  }
  console.log(`${calls} bad calls`);
  expect(faults).toEqual([]);
  expect(calls).toBeGreaterThan(2000);
  expect(escaped).toEqual([]);
  expect(await model.complete(PROMPT, { ...GREEDY, reft })).toBe(answer);
  expect(await model.memory()).toEqual(memory);
});

test("an argument that is left out is named", async () => {
  const calls: [string, () => Promise<unknown>][] = [
    ["source", () => WebReft.load(...([] as unknown as [ModelSource]))],
    ["config", async () => model.reft(...([] as unknown as [ReftConfig]))],
    ["prompt", () => model.complete(...([] as unknown as [string]))],
    ["options.reft", () => first(model.compare(PROMPT, {} as GenerateOptions & { reft: Reft }))],
    ["examples", () => reft.trainStep(...([] as unknown as [Example[]]))],
    ["pairs[0].negative", () => model.steer([{ positive: "one" } as ContrastPair])],
    ["name", () => store.read(...([] as unknown as [string]))],
  ];
  for (const [name, call] of calls) {
    const error = await failure(call());
    expect(error).toMatchObject({ kind: "input", message: expect.stringContaining(`${name}: expected`) });
    expect(error.message).toContain("got nothing");
  }
});

test("interventions of another model, or of none, are refused", async () => {
  const other = await load();
  const foreign = other.reft(LOREFT);
  await foreign.save();
  const refused = async (who: Reft, message: string) => {
    const calls = [
      () => model.complete(PROMPT, { ...SHORT, reft: who }),
      () => model.complete(PROMPT, { ...SHORT, reft: [reft, { reft: who, strength: 2 }] }),
      () => first(model.compare(PROMPT, { ...SHORT, reft: who })),
      () => switching({ reft: who }),
    ];
    for (const call of calls) {
      expect(await failure(call())).toMatchObject({ kind: "input", message: expect.stringContaining(message) });
    }
  };
  await refused(foreign, "expected interventions on this model, got another model's");
  await refused(new Proxy(reft, {}), "expected");
  await refused(Object.create(reft), "expected");
  await other.dispose();
  await refused(foreign, "expected interventions on this model, got another model's");
  expect(await failure(foreign.save())).toMatchObject({ kind: "input", message: "the model was disposed" });
  const gone = model.reft(LOREFT);
  await gone.dispose();
  await refused(gone, "these interventions were disposed");
});

/** Callbacks that throw, and what they throw. */
const THROWN = {
  text: "no",
  nothing: undefined,
  error: new Error("no"),
  symbol: Symbol("no"),
  bare: Object.create(null),
};

test.each(Object.entries(THROWN))(
  "a callback that throws %s ends its call, and the model goes on",
  async (_, thrown) => {
    const calls: Record<string, (callback: () => unknown) => Promise<unknown>> = {
      "load onProgress": (onProgress) => WebReft.load(Q8, { ...CPU, onProgress }),
      "generate onProgress": (onProgress) => all(model.generate("a cat ".repeat(10), { ...SHORT, onProgress })),
      "compare onProgress": (onProgress) => all(model.compare("a cat ".repeat(10), { ...SHORT, reft, onProgress })),
      "steer onProgress": (onProgress) => model.steer(PAIRS, { onProgress }),
      "hiddenStates onProgress": (onProgress) => model.hiddenStates(PROMPT, {}, { onProgress }),
      "train onProgress": (onProgress) => all(reft.train(EXAMPLES, { epochs: 2, onProgress })),
      "train onCheckpoint": (onCheckpoint) => all(reft.train(EXAMPLES, { epochs: 2, onCheckpoint })),
      "trainStep onProgress": (onProgress) => reft.trainStep(EXAMPLES, { onProgress }),
      "resume onCheckpoint": async (onCheckpoint) =>
        all((await model.resume(checkpoint, EXAMPLES, { onCheckpoint })).steps),
    };
    for (const [name, call] of Object.entries(calls)) {
      let called = 0;
      const callback = () => {
        called += 1;
        throw thrown;
      };
      const rejecting = async () => callback();
      for (const one of [callback, rejecting]) {
        called = 0;
        const outcome = await call(one).catch((error: unknown) => error);
        const message = expect.stringContaining(`options.${name.split(" ")[1]} threw`);
        expect(outcome, name).toMatchObject({ kind: "input", message });
        expect((outcome as WebReftError).cause, name).toBe(thrown);
        expect(called, name).toBe(1);
      }
      expect(await model.complete(PROMPT, SHORT)).toBeTypeOf("string");
    }
    expect(escaped).toEqual([]);
  },
);

test("texts that no context holds do not cross, and those that do leave no memory behind", async () => {
  const longest = 256 * model.info.nCtx;
  const long = (length: number) => "a cat ".repeat(length / 6 + 1).slice(0, length);
  expect((await failure(model.complete(long(longest)))).message).toContain("context");
  const memory = await model.memory();
  for (const length of [longest, longest + 1, 200_000_000]) {
    const error = await failure(model.complete(long(length)));
    expect(error.kind).toBe("input");
    expect(error.message.includes(`prompt: expected at most ${longest} characters`)).toBe(length > longest);
    const spread = Array.from({ length: 100 }, () => ({ role: "user", content: long(Math.ceil(length / 100)) }));
    const refused = await failure(model.complete(spread));
    expect(refused).toMatchObject({ kind: "input", message: expect.stringMatching(/^prompt/) });
    const learned = await failure(reft.trainStep([{ prompt: "a", completion: long(length) }]));
    expect(learned.kind).toBe("input");
  }
  expect(await model.memory()).toEqual(memory);
});
