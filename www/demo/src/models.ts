/** The models that the page offers: real repositories of the Hub. Sizes are told by heart, about; inspecting tells them exactly. */

/** A model to choose. */
export interface Offer {
  name: string;
  /** What `WebReft.load` takes. */
  source: string;
  /** About, of the file. */
  bytes: number;
  /** About, in all. */
  weights: number;
  license: string;
  /** What it is good for, in plain words. */
  good: string;
}

const MB = 1e6;
const MILLION = 1e6;

/** The most weights with which a CPU answers and learns while one waits. */
const MOST_ON_CPU = 500 * MILLION;

/** Whether a model is sensible where the CPU computes. */
export function isSensibleOnCpu({ weights }: Offer): boolean {
  return weights <= MOST_ON_CPU;
}

export const OFFERS: Offer[] = [
  {
    name: "SmolLM2 135M Instruct",
    source: "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M",
    bytes: 105 * MB,
    weights: 135 * MILLION,
    license: "Apache 2.0",
    good: "Trying things out: small and quick, and knows little.",
  },
  {
    name: "SmolLM2 360M Instruct",
    source: "hf:bartowski/SmolLM2-360M-Instruct-GGUF:Q4_K_M",
    bytes: 271 * MB,
    weights: 362 * MILLION,
    license: "Apache 2.0",
    good: "Short answers and rewriting on a weak GPU.",
  },
  {
    name: "Gemma 3 270M",
    source: "hf:unsloth/gemma-3-270m-it-GGUF:Q8_0",
    bytes: 292 * MB,
    weights: 268 * MILLION,
    license: "Gemma terms",
    good: "Made to be finetuned: classes, and fields out of a text.",
  },
  {
    name: "Qwen2.5 0.5B Instruct",
    source: "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M",
    bytes: 491 * MB,
    weights: 494 * MILLION,
    license: "Apache 2.0",
    good: "A good first real model: many languages, follows instructions.",
  },
  {
    name: "Qwen3 0.6B",
    source: "hf:unsloth/Qwen3-0.6B-GGUF:Q4_K_M",
    bytes: 397 * MB,
    weights: 596 * MILLION,
    license: "Apache 2.0",
    good: "Thinks before it answers; many languages.",
  },
  {
    name: "TinyLlama 1.1B Chat",
    source: "hf:TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF:Q4_K_M",
    bytes: 669 * MB,
    weights: 1100 * MILLION,
    license: "Apache 2.0",
    good: "A plain Llama 2 in small, known from many papers.",
  },
  {
    name: "Gemma 3 1B",
    source: "hf:ggml-org/gemma-3-1b-it-GGUF:Q4_K_M",
    bytes: 806 * MB,
    weights: 1000 * MILLION,
    license: "Gemma terms",
    good: "Friendly conversation, many languages.",
  },
  {
    name: "Llama 3.2 1B Instruct",
    source: "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
    bytes: 808 * MB,
    weights: 1236 * MILLION,
    license: "Llama 3.2 Community",
    good: "Conversation and summaries, eight languages.",
  },
  {
    name: "Qwen2.5 1.5B Instruct",
    source: "hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M",
    bytes: 1117 * MB,
    weights: 1544 * MILLION,
    license: "Apache 2.0",
    good: "Much better answers, where the GPU has 2 GB to give.",
  },
  {
    name: "SmolLM2 1.7B Instruct",
    source: "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M",
    bytes: 1056 * MB,
    weights: 1711 * MILLION,
    license: "Apache 2.0",
    good: "English answers and rewriting; training data are public.",
  },
  {
    name: "Qwen3 1.7B",
    source: "hf:unsloth/Qwen3-1.7B-GGUF:Q4_K_M",
    bytes: 1107 * MB,
    weights: 1721 * MILLION,
    license: "Apache 2.0",
    good: "Thinks before it answers, better than the smaller one.",
  },
  {
    name: "Llama 3.2 3B Instruct",
    source: "hf:bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
    bytes: 2019 * MB,
    weights: 3213 * MILLION,
    license: "Llama 3.2 Community",
    good: "The best conversation here below 3 GB.",
  },
  {
    name: "Phi-3.5 mini Instruct",
    source: "hf:bartowski/Phi-3.5-mini-instruct-GGUF:Q4_K_M",
    bytes: 2393 * MB,
    weights: 3821 * MILLION,
    license: "MIT",
    good: "Reasoning and code, for a GPU with 4 GB and more.",
  },
  {
    name: "Mistral 7B Instruct v0.3",
    source: "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M",
    bytes: 4373 * MB,
    weights: 7248 * MILLION,
    license: "Apache 2.0",
    good: "A large model, for a GPU with 8 GB and more.",
  },
];
