/** The kinds of intervention in plain words, with values to start from. What kinds there are the engine says. */
import type { KindInfo, ReftConfig } from "webreft";

/** The fields of a method, in the order of the page. */
export const FIELDS = ["layers", "component", "positions", "rank", "alpha", "virtualTokens", "learningRate"] as const;

export type FieldName = (typeof FIELDS)[number];

/** What the fields hold, as it is written there. A method has no use for a field that is left out. */
export type MethodValues = Partial<Record<FieldName, string>>;

/** A kind as the page offers it. */
export interface Method {
  kind: string;
  title: string;
  /** What it is, in a line. */
  words: string;
  equation: string;
  values: MethodValues;
}

/** One layer, at the last token of the prompt: where the whole question has been read. */
const AT_THE_END = { layers: "1", component: "block_output", positions: "l1", rank: "4", learningRate: "0.01" };

/** As peft has LoRA. */
const AT_EVERY_TOKEN = {
  layers: "all",
  component: "query_output, value_output",
  positions: "all",
  rank: "4",
  alpha: "8",
  learningRate: "0.01",
};

/** A small network at each half of every layer. */
const ADAPTER = {
  layers: "all",
  component: "attention_output, mlp_output",
  positions: "all",
  rank: "4",
  learningRate: "0.003",
};

type Words = Pick<Method, "title" | "words" | "values">;

const LOREFT: Words = {
  title: "LoReFT",
  words: "Sets a few directions of what the model is thinking to what it learned. The one to begin with.",
  values: AT_THE_END,
};

const WORDS: Record<string, Words> = {
  loreft: LOREFT,
  direft: {
    title: "DiReFT",
    words: "Adds what it learned along a few directions, and takes nothing away.",
    values: AT_THE_END,
  },
  noreft: {
    title: "NoReFT",
    words: "As LoReFT, but its directions need not stand at right angles.",
    values: AT_THE_END,
  },
  nodireft: {
    title: "NoDiReFT",
    words: "As DiReFT, but its directions need not stand at right angles: the simplest learned edit.",
    values: AT_THE_END,
  },
  consreft: {
    title: "ConsReFT",
    words: "Sets a few directions to the same values, whatever is asked.",
    values: AT_THE_END,
  },
  lobireft: {
    title: "LobiReFT",
    words: "Adds the same push, whatever is asked. It has far to go, so its learning rate is high.",
    values: { ...AT_THE_END, learningRate: "1" },
  },
  lora: {
    title: "LoRA",
    words: "Edits weights, not thoughts: at every token and in every layer. More numbers, slower answers.",
    values: AT_EVERY_TOKEN,
  },
  dora: {
    title: "DoRA",
    words: "As LoRA, but how far a weight reaches is learned apart from where it points.",
    values: AT_EVERY_TOKEN,
  },
  series_adapter: {
    title: "Series adapter",
    words: "A small network behind each half of every layer, which corrects what it says.",
    values: ADAPTER,
  },
  parallel_adapter: {
    title: "Parallel adapter",
    words: "A small network beside each half of every layer: it reads the same, and has its own say.",
    values: ADAPTER,
  },
  ia3: {
    title: "(IA)³",
    words: "Turns what passes through each layer up or down, a number for each channel. It cannot say anything new.",
    values: {
      layers: "all",
      component: "key_output, value_output, up_output",
      positions: "all",
      learningRate: "0.03",
    },
  },
  prompt_tuning: {
    title: "Prompt tuning",
    words: "Puts a few made-up words before each question, and learns what they mean. The model inside is not touched.",
    values: { virtualTokens: "8", learningRate: "0.1" },
  },
  p_tuning: {
    title: "P-tuning",
    words: "As prompt tuning, but a network writes the made-up words: many more numbers, and they learn together.",
    values: { virtualTokens: "8", learningRate: "0.003" },
  },
  prefix_tuning: {
    title: "Prefix tuning",
    words: "Made-up words before each question, learned as what every layer would remember of them.",
    values: { virtualTokens: "8", learningRate: "0.1" },
  },
};

/** What the page offers of the kinds: those that learn by examples alone. One without words here shows its equation. */
export function methods(kinds: KindInfo[]): Method[] {
  const offered = kinds.filter(({ trained, readsSource }) => trained && !readsSource);
  return offered.map((kind) => {
    const { name, equation, usualLayers, usualComponents, usualPositions } = kind;
    const component = usualComponents.join(", ");
    const placed = { ...AT_THE_END, layers: usualLayers, component, positions: usualPositions };
    const values: MethodValues = kind.virtual ? { virtualTokens: "8", learningRate: "0.01" } : placed;
    return { kind: name, equation, ...(WORDS[name] ?? { title: name, words: "", values }) };
  });
}

/** What is offered before there is an engine to ask. */
export const FIRST: Method[] = [{ kind: "loreft", equation: "", ...LOREFT }];

/** What the fields ask for. */
export function configOf(kind: string, values: MethodValues, seed: number): ReftConfig {
  const { layers, component, positions, rank, alpha, virtualTokens } = values;
  return {
    kind,
    ...(layers !== undefined && { layers: layersOf(layers.trim()) }),
    ...(component !== undefined && { component: component.split(",").map((name) => name.trim()) }),
    ...(positions !== undefined && { positions: positions.trim() }),
    ...(rank !== undefined && { rank: Number(rank) }),
    ...(alpha !== undefined && { alpha: Number(alpha) }),
    ...(virtualTokens !== undefined && { virtualTokens: Number(virtualTokens) }),
    seed,
  };
}

/** A word that the engine knows, or the numbers in it. */
function layersOf(text: string): NonNullable<ReftConfig["layers"]> {
  return text === "all" || text === "first" ? text : [...text.matchAll(/\d+/g)].map(Number);
}
