/** Opens a model again and again, each time with another call of the browser's failing, and tells what became of it. */

import { WebReftError } from "../../src/error.js";
import { type Opening, withFiles } from "../../src/files.js";
import { readSource } from "../../src/source.js";
import { ModelStore, models, type Record } from "../../src/stored.js";
import init, { type Reader } from "../../wasm/webreft.js";
import { arm, disarm, type Mode } from "./failing.js";

/** What there is of the model before: nothing, the first half of each file, or all. */
export type Start = "nothing" | "half" | "whole";

export interface Task {
  wasm: string;
  endpoint: string;
  source: string;
  start: Start;
  mode: Mode;
}

export interface Outcome {
  /** Calls of which each has failed once. */
  points: number;
  /** The names of those calls. */
  names: string[];
  /** How many loads recovered, and how many ended with a typed error. */
  recovered: number;
  errors: number;
  /** What should not be. */
  wrong: string[];
}

const hex = (hash: ArrayBuffer) =>
  Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
const hashOf = async (bytes: Uint8Array<ArrayBuffer>) => hex(await crypto.subtle.digest("SHA-256", bytes));

/** Loads a model; its content as a text, and whether there was a warning. */
async function load(opening: Opening): Promise<{ content: string; warned: boolean }> {
  const listener = { signal: new AbortController().signal, tell() {}, async check() {} };
  return withFiles(opening, listener, async (readers: Reader[], warnings) => {
    const hashes = [];
    for (const { length, read } of readers) hashes.push(await hashOf(await read(0, length)));
    return { content: hashes.join(), warned: warnings.length > 0 };
  });
}

/** The content of a model that is stored; undefined where it is not, or not whole. */
async function stored(): Promise<string | undefined> {
  const store = await ModelStore.open();
  const [record] = await store.records();
  if (!record) return undefined;
  if (!(await store.describe(record)).complete) return undefined;
  const files = await Promise.all(record.files.map((_, index) => store.file(record, index)));
  const hashes = files.map(async (file) => hashOf(new Uint8Array(await (file as File).arrayBuffer())));
  return (await Promise.all(hashes)).join();
}

async function clear(): Promise<void> {
  for (const { id } of await models.list()) await models.remove(id);
}

/** Leaves the first half of each file, as a page that was closed does. */
async function halve(): Promise<void> {
  const store = await ModelStore.open();
  const [record] = (await store.records()) as [Record];
  for (const [index, file] of record.files.entries()) {
    const sink = await store.sink(record, index);
    sink.truncate(Math.floor(sink.getSize() / 2));
    sink.close();
    file.done = false;
  }
  await store.save(record);
}

/** Milliseconds within which each thing is done; the waits of this worker are a fiftieth. */
const IN_TIME = 20_000;

/** Fails where work does not end, and tells who holds which locks then. */
function inTime<Value>(what: string, work: Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    const tell = async () => {
      const { held, pending } = await navigator.locks.query();
      reject(new Error(`${what} never ended: ${JSON.stringify({ held, pending })}`));
    };
    timer = setTimeout(tell, 50 * IN_TIME);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function run({ wasm, endpoint, source, start, mode }: Task): Promise<Outcome> {
  await init({ module_or_path: wasm });
  const opening: Opening = { source: readSource(source, undefined, endpoint), cache: true, access: { endpoint } };
  await clear();
  const { content: right } = await load(opening);
  const outcome: Outcome = { points: 0, names: [], recovered: 0, errors: 0, wrong: [] };
  const names = new Set<string>();
  const prepare = async () => {
    await clear();
    if (start === "nothing") return;
    await load(opening);
    if (start === "half") await halve();
  };
  await prepare();
  arm({ k: 0, mode });
  await load(opening);
  const { calls: usual } = disarm();
  for (let k = 1; ; k++) {
    if (usual[k - 1]?.includes(mode) === false) continue;
    const at = `${mode}, ${start}, call ${k}`;
    await inTime(`${at}: the preparation`, prepare());
    arm({ k, mode });
    const result = await inTime(`${at}: the load`, load(opening)).then(
      ({ content }) => content,
      (error: unknown) => error,
    );
    const { failed: name, calls } = disarm();
    if (calls.length < k) break;
    if (name === undefined) continue; // the pieces of an answer differ in number: another call than usual was the k-th
    const wrong = (what: string) => outcome.wrong.push(`${at} (${name}): ${what}`);
    names.add(name);
    outcome.points += 1;
    if (typeof result === "string") {
      outcome.recovered += 1;
      if (result !== right) wrong("other content");
    } else {
      outcome.errors += 1;
      const isTyped = result instanceof WebReftError && result.kind === "file" && result.retryable;
      if (!isTyped) wrong(`ended with ${result}`);
    }
    const kept = await inTime(`${at} (${name}): looking at what is stored`, stored());
    if (kept !== undefined && kept !== right) wrong("other content was stored");
    const { content, warned } = await inTime(`${at} (${name}): the next load`, load(opening));
    if (content !== right) wrong("the next load had other content");
    if (warned || (await stored()) !== right) wrong("the next load did not store it");
  }
  outcome.names = [...names].sort();
  return outcome;
}

self.onmessage = async ({ data }: MessageEvent<Task>) => {
  try {
    self.postMessage(await run(data));
  } catch (error) {
    self.postMessage(String(error instanceof Error ? error.stack : error));
  }
};
