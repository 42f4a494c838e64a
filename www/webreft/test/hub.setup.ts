/** An imitation of the Hub for the tests in the browser, with the small models that there are. */
import { readFile } from "node:fs/promises";
import type { TestProject } from "vitest/node";
import { serveHub } from "./hub.js";
import { split } from "./split.js";

declare module "vitest" {
  export interface ProvidedContext {
    hub: string;
    /** Whether each fault is tried at every place, and not at some. */
    allFaults: boolean;
  }
}

const data = (path: string) => readFile(new URL(`../../../tests/${path}`, import.meta.url));
const models = (name: string) => data(`golden/llama/${name}`);

export default async function setup({ provide }: TestProject) {
  const q8 = await models("model-q8_0.gguf");
  const [first, second] = split(q8);
  const hub = await serveHub({
    "tiny/gguf": {
      "README.md": new Uint8Array(100),
      "tiny-Q8_0.gguf": q8,
      "tiny-Q4_0.gguf": await models("model-q4_0.gguf"),
      "tiny-F16.gguf": await models("model-f16.gguf"),
    },
    "tiny/long": { "long-Q8_0.gguf": withContext(q8, 1 << 24) },
    "tiny/broken": { "broken-Q8_0.gguf": q8.subarray(0, 100_000) },
    "tiny/parts": { "tiny-Q8_0-00001-of-00002.gguf": first, "tiny-Q8_0-00002-of-00002.gguf": second },
    "tiny/safetensors": {
      "config.json": await models("model/config.json"),
      "tokenizer.json": await data("tokenizers/tokenizer.json"),
      "model.safetensors": await models("model/model.safetensors"),
    },
  });
  provide("hub", hub.address);
  provide("allFaults", process.env.WEBREFT_FAULTS === "all");
  return hub.close;
}

/** The same model with room for so many tokens, as it says. */
function withContext(gguf: Uint8Array, length: number): Uint8Array {
  const bytes = gguf.slice();
  const key = new TextEncoder().encode("llama.context_length");
  const at = bytes.findIndex((_, i) => key.every((byte, j) => bytes[i + j] === byte));
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at + key.length + 4, length, true); // after the type
  return bytes;
}
