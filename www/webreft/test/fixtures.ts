/** What the browser tests share: a tiny model with random weights, and things to teach it. */
import { afterEach } from "vitest";
import { type LoadOptions, type ModelSource, type ReftConfig, WebReft, WebReftError } from "webreft";
import nanoAddress from "../../../nano/webreft-nano-q4_0.gguf?url";
import f32Address from "../../../tests/golden/llama/model-f32.gguf?url";
import q8Address from "../../../tests/golden/llama/model-q8_0.gguf?url";

export const Q8 = new URL(q8Address, location.href);
/** The same, not quantized. */
export const F32 = new URL(f32Address, location.href);
/** A model of another shape. */
export const NANO = new URL(nanoAddress, location.href);

export const EXAMPLES = [
  { prompt: "one", completion: "un" },
  { prompt: "two", completion: "deux" },
  { prompt: "three", completion: "trois" },
  { prompt: "and four", completion: "quatre" },
];

export const LOREFT: ReftConfig = { kind: "loreft", layers: [1, 3], rank: 2, positions: "f1+l1", seed: 7 };

const loaded: WebReft[] = [];

/** A model on the CPU unless the test asks for another machine; it is disposed after the test. */
export async function load(source: ModelSource = Q8, options: LoadOptions = {}): Promise<WebReft> {
  const model = await WebReft.load(source, { backend: "cpu", ...options });
  loaded.push(model);
  return model;
}

afterEach(async () => {
  for (const model of loaded.splice(0)) await model.dispose();
});

let kept: Promise<WebReft> | undefined;

/** One model for all tests of a file that leave it as it was. */
export function shared(): Promise<WebReft> {
  kept ??= WebReft.load(Q8, { backend: "cpu" });
  return kept;
}

export async function fileBytes(address: URL): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await fetch(address)).arrayBuffer());
}

/** The numbers in a file of interventions, without the header, which tells how they were trained. */
export function numbersIn(file: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return file.slice(8 + Number(new DataView(file.buffer).getBigUint64(0, true)));
}

/** The error that work ends with. */
export async function failure(work: Promise<unknown>): Promise<WebReftError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof WebReftError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** Everything an iterable gives. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
