/** The main job in a real browser, on the CPU: load, generate, train, save, load again. */
import { expect, test } from "vitest";
import {
  type LoadProgress,
  type Persona,
  type Reft,
  type ReftConfig,
  type TrainOptions,
  WebReft,
  WebReftError,
} from "webreft";
import numbers from "../../../tests/numbers/loreft.json";
import { all, EXAMPLES, failure, fileBytes, LOREFT, load, numbersIn, Q8, shared } from "./fixtures.js";

const PROMPT = "four and";
const GREEDY = { maxTokens: 12 };

test("a model tells what it is", async () => {
  const { info } = await load();
  expect(info).toMatchObject({
    architecture: "llama",
    nLayer: 4,
    nEmbd: 64,
    nVocab: 320,
    formats: ["Q8_0"],
    chat: false,
    backend: "cpu",
    device: expect.stringContaining("simd128"),
    warnings: [],
  });
  expect(info).not.toHaveProperty("adapter");
});

test("address, file and bytes give the same answer", async () => {
  const bytes = await fileBytes(Q8);
  const answers = [];
  for (const source of [Q8, Q8.href, new File([bytes], "model.gguf"), bytes, bytes.buffer]) {
    const model = await load(source);
    answers.push(await model.complete(PROMPT, GREEDY));
    await model.dispose();
  }
  expect(new Set(answers).size).toBe(1);
  expect(bytes.length).toBeGreaterThan(0);
});

test("progress counts bytes, and only forward", async () => {
  const seen: LoadProgress[] = [];
  await load(Q8, { onProgress: (progress) => seen.push(progress) });
  const weights = seen.filter(({ phase }) => phase === "weights");
  expect(weights.length).toBeGreaterThan(1);
  expect(weights.at(-1)?.loaded).toBe(weights.at(-1)?.total);
  for (const [i, { loaded }] of weights.entries()) expect(loaded).toBeGreaterThanOrEqual(weights[i - 1]?.loaded ?? 0);
});

test("an answer comes in pieces, and the last one says why it ended", async () => {
  const model = await shared();
  const pieces = await all(model.generate(PROMPT, GREEDY));
  expect(pieces.length).toBeLessThanOrEqual(12);
  expect(pieces.at(-1)?.finish).toBeDefined();
  expect(pieces.slice(0, -1).every(({ finish }) => finish === undefined)).toBe(true);
  expect(pieces.map(({ text }) => text).join("")).toBe(await model.complete(PROMPT, GREEDY));
});

test("a chat template of one's own writes the prompt, at the time and with the variables that are given", async () => {
  const chatTemplate =
    "{{ messages[0].content if strftime_now('%d %b %Y') == '04 Jul 2025' and who == 'me' else raise_exception('no') }}";
  const own = { chatTemplate, now: "2025-07-04T12:00:00", templateVariables: { who: "me" } };
  const model = await load(Q8, own);
  expect(model.info.chat).toBe(true);
  const bare = await shared();
  expect(await model.complete([{ role: "user", content: PROMPT }], GREEDY)).toBe(await bare.complete(PROMPT, GREEDY));
  const later = await load(Q8, { ...own, now: "2025-07-05" });
  expect(await failure(later.complete(PROMPT, GREEDY))).toMatchObject({ message: expect.stringContaining("no") });
  const broken = await load(Q8, { chatTemplate: "{% if %}" });
  expect(await failure(broken.complete(PROMPT, GREEDY))).toBeInstanceOf(WebReftError);
  expect(await failure(load(Q8, { chatTemplate: "alpaca" }))).toMatchObject({
    kind: "input",
    message: expect.stringContaining("one of chatml, llama3, gemma and raw"),
  });
});

test("an answer has tools, documents and variables of its own", async () => {
  const chatTemplate =
    "{{ messages[0].content if tools[0].name == 'look' and documents[0].text == 'a' and who == 'you' else raise_exception('no') }}";
  const model = await load(Q8, { chatTemplate, templateVariables: { who: "me" } });
  const given = { ...GREEDY, tools: [{ name: "look" }], documents: [{ text: "a" }] };
  const bare = await shared();
  const answer = await bare.complete(PROMPT, GREEDY);
  expect(await model.complete(PROMPT, { ...given, templateVariables: { who: "you" } })).toBe(answer);
  expect(await failure(model.complete(PROMPT, given))).toMatchObject({ message: expect.stringContaining("no") });
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  expect(await failure(model.complete(PROMPT, { tools: cyclic }))).toMatchObject({ kind: "input" });
  const without = await load(Q8, { chatTemplate: "{{ messages[0].content }}" });
  expect(await failure(without.complete(PROMPT, given))).toMatchObject({
    kind: "input",
    message: expect.stringContaining("tools: the model's chat template does not use them"),
  });
  expect(await failure(bare.complete(PROMPT, given))).toMatchObject({ kind: "input" });
});

test("turns that a template leaves out are not learned, and a warning says so", async () => {
  const chatTemplate =
    "{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.role + ': ' + m.content + ' ' }}{% endif %}{% endfor %}";
  const model = await load(Q8, { chatTemplate });
  const turn = (role: string, content: string) => ({ role, content });
  const messages = [turn("user", "the"), turn("assistant", "dog"), turn("user", "a"), turn("assistant", "cat")];
  const warnings: string[] = [];
  const steps = model.reft(LOREFT).train([{ messages }], { epochs: 1, onWarning: (text) => warnings.push(text) });
  expect(await all(steps)).toHaveLength(1);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain("example 1");
});

test("the same seed gives the same sampled answer, another seed another one", async () => {
  const model = await shared();
  const sample = (seed: number) => model.complete(PROMPT, { maxTokens: 16, temperature: 1.2, topK: 40, seed });
  const first = await sample(1);
  expect(await sample(1)).toBe(first);
  expect(await sample(2)).not.toBe(first);
});

test("training lowers the loss, and what was learned changes the answer", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT);
  const steps = await all(reft.train(EXAMPLES, { epochs: 20, learningRate: 4e-3 }));
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  expect(steps[19]?.loss).toBeLessThan((steps[0]?.loss ?? 0) * 0.9);
  const base = await model.complete(PROMPT, GREEDY);
  expect(await model.complete(PROMPT, { ...GREEDY, reft })).not.toBe(base);
});

test("losses and tokens are those of the native engine", async () => {
  const model = await shared();
  const ids = async (options: { reft?: Reft }) => {
    const pieces = await all(model.generate(numbers.prompt, { maxTokens: numbers.maxTokens, ...options }));
    return pieces.map(({ id }) => id);
  };
  expect(await ids({})).toEqual(numbers.idsBefore);
  const config: ReftConfig = { ...numbers.reft, kind: "loreft", component: "block_output", act: "linear" };
  const reft = model.reft(config);
  const steps = await all(reft.train(numbers.examples, { ...numbers.training, schedule: "linear" }));
  const off = steps.map(({ loss }, i) => Math.abs(loss - (numbers.losses[i] ?? Number.NaN)));
  expect(steps.length).toBe(numbers.losses.length);
  expect(Math.max(...off)).toBeLessThan(5e-4);
  expect(await ids({ reft })).toEqual(numbers.idsAfter);
});

test("the same training twice gives the same losses", async () => {
  const model = await shared();
  const losses = async () =>
    (await all(model.reft(LOREFT).train(EXAMPLES, { epochs: 4, batchSize: 2 }))).map(({ loss }) => loss);
  expect(await losses()).toEqual(await losses());
});

test("single steps go on from each other", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT);
  const losses: number[] = [];
  for (let i = 0; i < 5; i++) losses.push((await reft.trainStep(EXAMPLES, { learningRate: 4e-3 })).loss);
  expect(losses[4]).toBeLessThan(losses[0] ?? 0);
});

test("one batched pass gives the two answers that two passes give", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT);
  await reft.trainStep(EXAMPLES, { learningRate: 1e-2 });
  const pieces = await all(model.compare(PROMPT, { ...GREEDY, reft }));
  const text = (side: string) => pieces.flatMap((piece) => (piece.side === side ? piece.text : [])).join("");
  expect(text("base")).toBe(await model.complete(PROMPT, GREEDY));
  expect(text("reft")).toBe(await model.complete(PROMPT, { ...GREEDY, reft }));
});

test("what was saved answers the same after loading it into the model again", async () => {
  const first = await load();
  const reft = first.reft(LOREFT);
  for await (const _ of reft.train(EXAMPLES, { epochs: 5 }));
  const answer = await first.complete(PROMPT, { ...GREEDY, reft });
  const bytes = await reft.save();
  expect(bytes.length).toBeLessThan(20_000);
  await first.dispose();

  const second = await load();
  const again = await second.loadReft(bytes);
  expect(again.configs).toMatchObject([{ kind: "loreft", layers: [1, 3], rank: 2, positions: "f1+l1" }]);
  expect(again.warnings).toEqual([]);
  expect(await second.complete(PROMPT, { ...GREEDY, reft: again })).toBe(answer);
  expect((await again.save()).length).toBe(bytes.length);
});

test("leaving a training loop keeps the steps that were seen, and the model can be used at once", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT);
  const seen: number[] = [];
  for await (const { loss } of reft.train(EXAMPLES, { epochs: 50, schedule: "constant" })) {
    seen.push(loss);
    if (seen.length === 3) break;
  }
  const next = await reft.trainStep(EXAMPLES);
  expect(next.loss).toBeLessThan(seen[2] ?? 0);
  expect(await model.complete(PROMPT, { ...GREEDY, reft })).toBeTypeOf("string");
});

test("a strength of 0 is the bare model, and personas of different kinds answer in one batch", async () => {
  const model = await shared();
  const reft = model.reft([LOREFT, { kind: "lora", component: ["query_output", "value_output"], rank: 2, alpha: 4 }]);
  for await (const _ of reft.train(EXAMPLES, { epochs: 5, learningRate: 1e-2, optimizer: "adam", maxGradNorm: 1 }));
  const bare = await model.complete(PROMPT, GREEDY);
  expect(await model.complete(PROMPT, { ...GREEDY, reft: { reft, strength: 0 } })).toBe(bare);
  const other = model.reft({ kind: "nodireft", component: "mlp_output", positions: "generated", rank: 1 });
  expect(await model.complete(PROMPT, { ...GREEDY, reft: [reft, { reft: other, strength: -1 }] })).toBeTypeOf("string");
  expect(await reft.trainableParameters()).toMatchObject({
    trainable: expect.any(Number),
    percent: expect.any(Number),
  });
});

test("a head learns classes", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT, { outputs: 2 });
  const examples = [
    { text: "the cat", label: 0 },
    { text: "a dog ran", label: 1 },
  ];
  for await (const _ of reft.train(examples, { epochs: 30, learningRate: 1e-2 }));
  const [cat = [], dog = []] = await reft.scores(["the cat", "a dog ran"]);
  expect((cat[0] ?? 0) - (cat[1] ?? 0)).toBeGreaterThan(0);
  expect((dog[1] ?? 0) - (dog[0] ?? 0)).toBeGreaterThan(0);
});

test("a head that reads all tokens learns classes that hold together", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT, { outputs: 3, bias: true, pooling: "mean" });
  const examples = [
    { text: "the cat", labels: [0, 2] },
    { text: "a dog ran", labels: [] },
  ];
  const steps = await all(reft.train(examples, { epochs: 40, learningRate: 1e-2 }));
  expect(steps.at(-1)?.accuracy).toBe(1);
  const scores = await reft.scores(examples.map(({ text }) => text));
  expect(scores.map((of) => of.map((score) => score > 0))).toEqual([
    [true, false, true],
    [false, false, false],
  ]);
});

test("examples are held back, patience ends the training, and the best parameters stay", async () => {
  const model = await shared();
  const options = { epochs: 60, batchSize: 2, learningRate: 4e-2, validation: 1, patience: 3, dropout: 0.1 };
  const reft = model.reft(LOREFT);
  const checkpoints: Uint8Array<ArrayBuffer>[] = [];
  const onCheckpoint = (bytes: Uint8Array<ArrayBuffer>) => checkpoints.push(bytes);
  const steps = await all(reft.train(EXAMPLES, { ...options, keepBest: true, onCheckpoint }));
  for (const { epochEnds, validationLoss } of steps) expect(validationLoss !== undefined).toBe(epochEnds);
  const losses = steps.flatMap(({ validationLoss }) => validationLoss ?? []);
  const best = losses.indexOf(Math.min(...losses)) + 1;
  expect(losses.length).toBe(best + options.patience);
  const [first] = checkpoints;
  if (!first) throw new Error("an epoch leaves a checkpoint");
  const resumed = await model.resume(first, EXAMPLES);
  const rest = (await all(resumed.steps)).flatMap(({ validationLoss }) => validationLoss ?? []);
  expect(rest).toEqual(losses.slice(1));
  expect(await resumed.reft.save()).toEqual(await reft.save());
  const till = model.reft(LOREFT);
  for await (const _ of till.train(EXAMPLES, { ...options, epochs: best }));
  const kept = numbersIn(await reft.save());
  expect(kept.length).toBeGreaterThan(0);
  expect(numbersIn(await till.save())).toEqual(kept);
});

test("a training goes on from its checkpoint as if it had not been left", async () => {
  const model = await shared();
  const options = { epochs: 6, batchSize: 2, learningRate: 1e-2 };
  const whole = (await all(model.reft(LOREFT).train(EXAMPLES, options))).map(({ loss }) => loss);
  const checkpoints: Uint8Array<ArrayBuffer>[] = [];
  const onCheckpoint = (bytes: Uint8Array<ArrayBuffer>) => checkpoints.push(bytes);
  for await (const { epoch } of model.reft(LOREFT).train(EXAMPLES, { ...options, onCheckpoint })) if (epoch > 2) break;
  const [, second] = checkpoints;
  if (!second) throw new Error("two epochs leave two checkpoints");
  const { reft, steps } = await model.resume(second, EXAMPLES);
  const rest = (await all(steps)).map(({ loss }) => loss);
  expect(rest).toEqual(whole.slice(-rest.length));
  expect(rest.length).toBe(whole.length - (whole.length / 6) * 2);
  expect(await model.complete(PROMPT, { ...GREEDY, reft })).toBeTypeOf("string");
});

test("checkpoints come no more often than is asked for", async () => {
  const model = await shared();
  const count = async (checkpointSeconds: number) => {
    let n = 0;
    const onCheckpoint = () => {
      n += 1;
    };
    for await (const _ of model.reft(LOREFT).train(EXAMPLES, { epochs: 3, onCheckpoint, checkpointSeconds }));
    return n;
  };
  expect(await count(0)).toBe(3);
  expect(await count(600)).toBe(0);
});

test("kinds are listed, and what they would train is counted without making them", async () => {
  const model = await shared();
  const { kinds } = model.info;
  expect(kinds.find(({ name }) => name === "loreft")).toMatchObject({ trained: true, readsSource: false });
  expect(kinds.find(({ name }) => name === "interchange")).toMatchObject({ trained: false, readsSource: true });
  expect(await model.wouldTrain(LOREFT)).toEqual(await model.reft(LOREFT).trainableParameters());
  expect(await failure(model.wouldTrain({ ...LOREFT, layers: [9] }))).toMatchObject({ kind: "input" });
});

test("others edit an answer from one token to the next", async () => {
  const model = await shared();
  const reft = model.reft({ ...LOREFT, positions: "generated" });
  for await (const _ of reft.train(EXAMPLES, { epochs: 5, learningRate: 1e-2 }));
  const strong = { reft, strength: 8 };
  const ids = async (who: Persona | undefined, at = -1, then?: Persona) => {
    const seen: number[] = [];
    for await (const { id } of model.generate(PROMPT, who ? { ...GREEDY, reft: who } : GREEDY)) {
      seen.push(id);
      if (seen.length === at) await model.switch(then);
    }
    return seen;
  };
  const base = await ids(undefined);
  const edited = await ids(strong);
  expect(edited).not.toEqual(base);
  for (const at of [1, 4]) {
    expect(await ids({ reft, strength: 0 }, at)).toEqual(base);
    const later = await ids(undefined, at, strong);
    expect(later.slice(0, at)).toEqual(base.slice(0, at));
    expect(later).not.toEqual(base);
    expect(await ids({ reft, strength: 0 }, at, strong)).toEqual(later);
  }
  expect(await ids(strong, 1, strong)).toEqual(edited);
});

test("in a comparison the answer with interventions is switched", async () => {
  const model = await shared();
  const reft = model.reft({ ...LOREFT, positions: "generated" });
  for await (const _ of reft.train(EXAMPLES, { epochs: 5, learningRate: 1e-2 }));
  const sides = { base: [] as number[], reft: [] as number[] };
  for await (const { side, id } of model.compare(PROMPT, { ...GREEDY, reft: { reft, strength: 0 } })) {
    sides[side].push(id);
    if (side === "reft" && sides.reft.length === 2) await model.switch({ reft, strength: 8 });
  }
  expect(sides.reft.slice(0, 2)).toEqual(sides.base.slice(0, 2));
  expect(sides.reft).not.toEqual(sides.base);
});

test("a switch that cannot be is an error, and the answer goes on", async () => {
  const model = await shared();
  const reft = model.reft(LOREFT);
  expect(await failure(model.switch(reft))).toMatchObject({
    kind: "input",
    message: expect.stringContaining("switch"),
  });
  const seen: number[] = [];
  for await (const { id } of model.generate(PROMPT, GREEDY)) {
    seen.push(id);
    if (seen.length > 1) continue;
    const dimension = await failure(model.switch({ reft, subspace: [9] }));
    expect(dimension).toMatchObject({ kind: "input", message: expect.stringContaining("dimension 9") });
    expect(await failure(model.switch({ reft, source: "one" }))).toMatchObject({ kind: "input" });
  }
  expect(seen).toEqual((await all(model.generate(PROMPT, GREEDY))).map(({ id }) => id));
});

test("interchange says what its source would have said", async () => {
  const model = await shared();
  const reft = model.reft({ kind: "interchange", layers: [model.info.nLayer - 1], positions: "l1" });
  const first = async (prompt: string, who?: Persona) => {
    for await (const { id } of model.generate(prompt, who ? { ...GREEDY, reft: who } : GREEDY)) return id;
  };
  const [text, other] = ["the cat", "a dog ran to some houses"];
  const ofOther = await first(other);
  expect(await first(text)).not.toBe(ofOther);
  expect(await first(text, { reft, source: other })).toBe(ofOther);
  expect(await first(text, { reft, source: other, sourcePositions: "-1" })).toBe(ofOther);
  expect(await first(text, { reft, source: text })).toBe(await first(text));
  expect(await failure(first(text, { reft }))).toMatchObject({ kind: "input" });
  const wrong = await failure(first(text, { reft, source: other, sourcePositions: "f2" }));
  expect(wrong).toMatchObject({ kind: "input", message: expect.stringContaining("expected 1 of its") });
});

test("interventions go to pyreft and peft and come back", async () => {
  const model = await shared();
  for (const [library, config] of [
    ["pyreft", LOREFT],
    ["peft", { kind: "lora", component: "value_output", rank: 2, alpha: 4 }],
  ] as const) {
    const reft = model.reft(config);
    for await (const _ of reft.train(EXAMPLES, { epochs: 5, learningRate: 1e-2 }));
    const again = await model.importReft(await reft.export(library));
    const answer = await model.complete(PROMPT, { ...GREEDY, reft });
    expect(await model.complete(PROMPT, { ...GREEDY, reft: again })).toBe(answer);
  }
  await expect(model.importReft(new Uint8Array(100))).rejects.toMatchObject({ kind: "file" });
});

test("answers are learned to be brought about and to be suppressed", async () => {
  const model = await shared();
  const reft = model.reft({ ...LOREFT, positions: "all" });
  const pairs = [{ prompt: PROMPT, chosen: "ran", rejected: "sat" }];
  const options: TrainOptions = { preferenceLoss: "reps", strengths: [1, 2], epochs: 40, learningRate: 2e-2 };
  const steps = [];
  for await (const step of reft.train(pairs, options)) steps.push(step);
  expect(steps.at(-1)?.loss).toBeLessThan((steps[0]?.loss ?? 0) / 2);
  const on = await model.complete(PROMPT, { ...GREEDY, maxTokens: 1, reft: { reft, strength: 2 } });
  const off = await model.complete(PROMPT, { ...GREEDY, maxTokens: 1, reft: { reft, strength: -2 } });
  expect(on).not.toBe(off);
  expect(await failure(reft.trainStep(pairs, { strengths: [2] }))).toMatchObject({
    kind: "input",
    message: "strengths: only preferenceLoss reps draws from them",
  });
});

test("counterfactual pairs are learned with hidden states of their sources", async () => {
  const model = await shared();
  const das = model.reft({ kind: "dii_lowrank", layers: [2], rank: 4, positions: "l1" });
  const pairs = [{ base: "the cat", source: "a dog", expected: "ran" }];
  const steps = await all(das.train(pairs, { epochs: 10, learningRate: 2e-2 }));
  expect(steps.at(-1)?.loss).toBeLessThan(steps[0]?.loss ?? 0);
});

test("a training is written as a script for pyreft, and what pyreft cannot train is refused", async () => {
  const model = await shared();
  const archive = await model.reft(LOREFT).exportScript(EXAMPLES, { epochs: 5, schedule: "linear" });
  const names = new TextDecoder("latin1").decode(archive);
  for (const name of ["train.py", "examples.jsonl", "settings.json", "start.safetensors", "requirements.txt"]) {
    expect(names).toContain(name);
  }
  const lora = model.reft({ kind: "lora", component: "value_output" });
  await expect(lora.exportScript(EXAMPLES)).rejects.toMatchObject({ kind: "unsupported" });
});

test("leaving an answer leaves the model usable", async () => {
  const model = await shared();
  for await (const piece of model.generate(PROMPT, { maxTokens: 100 })) if (piece) break;
  expect(await model.complete(PROMPT, GREEDY)).toBe(await model.complete(PROMPT, GREEDY));
});

test("the model lies in the wasm heap, which stays under 64 MB", async () => {
  const model = await load();
  for await (const _ of model.reft(LOREFT).train(EXAMPLES, { epochs: 3 }));
  const { wasm, gpu } = await model.memory();
  expect(wasm).toBeLessThan(64_000_000);
  expect(gpu).toBe(0);
});

test("two models live side by side", async () => {
  const [one, two] = await Promise.all([load(), load()]);
  const answers = await Promise.all([one.complete(PROMPT, GREEDY), two.complete(PROMPT, GREEDY)]);
  expect(answers[0]).toBe(answers[1]);
});

test("errors are of one class, with a name", () => {
  const error = new WebReftError("input", "no");
  expect(`${error}`).toBe("WebReftError: no");
  expect(WebReft.name).toBe("WebReft");
});
