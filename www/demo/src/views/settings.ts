/** What is trained, and how: the method with its places, and the course of the training. Both are out of the way until asked for. */
import type { ReftConfig, Training, WebReft } from "webreft";
import type { App } from "../app.js";
import { data, field, h, number } from "../dom.js";
import { bytes, plural } from "../format.js";
import { configOf, FIELDS, FIRST, type FieldName, type Method, type MethodValues, methods } from "../methods.js";

/** All fields as they are written, so that they can be kept and filled in again. */
export interface Settings {
  kind: string;
  values: MethodValues;
  epochs: string;
  seed: string;
}

/** The two disclosures. */
export interface SettingsView {
  roots: HTMLElement[];
  read(): Settings;
  fill(settings: Settings): void;
  /** What the method is called. */
  title(): string;
}

/** Milliseconds without a key before numbers are counted again. */
const PAUSE = 250;

export function mountSettings(app: App): SettingsView {
  const kind = h("select", { "data-testid": "kind", "aria-describedby": "method-words" });
  const inputs: Record<FieldName, HTMLInputElement> = {
    layers: text("layers"),
    component: text("component"),
    positions: text("positions"),
    rank: number({ min: 1, max: 256, "data-testid": "rank" }),
    alpha: number({ min: 0, max: 1024, step: "any" }),
    virtualTokens: number({ min: 1, max: 1024, "data-testid": "virtual-tokens" }),
    learningRate: number({ min: 0, max: 1, step: "any", "data-testid": "rate" }),
  };
  const epochs = number({ min: 1, max: 10000, "data-testid": "epochs" });
  const seed = number({ min: 0 });
  [epochs.value, seed.value] = ["40", "0"];

  const summary = h("summary", { "data-testid": "method" });
  const words = h("p", { class: "method-words", id: "method-words" });
  const equation = h("code", {});
  const size = h("p", { class: "hint number would-train", "data-testid": "would-train", role: "status" });
  const component = field("Places in a layer", inputs.component, "block_output, the whole; mlp_output; …");
  component.classList.add("wide");
  const fields: Partial<Record<FieldName, HTMLElement>> = {
    component,
    layers: field("Layers", inputs.layers, "2, 4 or all"),
    positions: field("Positions", inputs.positions, "l1: the last; f1+l1; all"),
    rank: field("Rank", inputs.rank, "directions of the edit"),
    alpha: field("Alpha", inputs.alpha, "strength: alpha / rank"),
    virtualTokens: field("Virtual tokens", inputs.virtualTokens, "made-up words, before each question"),
  };
  const method = h(
    "details",
    { class: "settings" },
    summary,
    h("div", { class: "method" }, field("What is trained", kind), h("div", {}, words, equation)),
    h("div", { class: "fields" }, ...Object.values(fields)),
    size,
  );
  const course = h(
    "details",
    { class: "settings" },
    h("summary", {}, "Settings"),
    h(
      "div",
      { class: "fields" },
      field("Epochs", epochs, "times through the examples"),
      field("Learning rate", inputs.learningRate, "the method’s own to begin with"),
      field("Seed", seed, "where chance begins"),
    ),
  );

  let offered: Method[] = [];
  let shown: MethodValues = {};
  const chosen = () => offered.find((each) => each.kind === kind.value);
  const offer = (list: Method[]) => {
    const before = kind.value;
    offered = list;
    kind.replaceChildren(...list.map((each) => h("option", { value: each.kind }, each.title)));
    if (list.some((each) => each.kind === before)) kind.value = before;
    else choose();
    describe();
  };
  const write = (values: MethodValues) => {
    shown = values;
    for (const name of FIELDS) {
      inputs[name].value = values[name] ?? "";
      fields[name]?.toggleAttribute("hidden", values[name] === undefined);
    }
  };
  const describe = () => {
    summary.replaceChildren("Method: ", h("span", {}, chosen()?.title ?? kind.value));
    words.textContent = chosen()?.words ?? "";
    equation.textContent = chosen() ? `h becomes ${chosen()?.equation}` : "";
  };
  const choose = () => write(chosen()?.values ?? {});
  kind.addEventListener("change", () => {
    choose();
    describe();
  });

  const read = (): Settings => {
    const values: MethodValues = {};
    for (const name of FIELDS) if (shown[name] !== undefined) values[name] = inputs[name].value;
    return { kind: kind.value, values, epochs: epochs.value, seed: seed.value };
  };
  const fill = (settings: Settings) => {
    kind.value = settings.kind;
    write(settings.values);
    [epochs.value, seed.value] = [settings.epochs, settings.seed];
    describe();
  };

  /** Says how many numbers the method would train, whenever that may be new. */
  let counted: { model: WebReft; config: string } | undefined;
  const count = async () => {
    const { model } = app;
    if (!model || app.activity !== "idle") return;
    const config = configFor(read());
    const mine = { model, config: JSON.stringify(config) };
    if (counted?.model === model && counted.config === mine.config) return;
    counted = mine;
    const told = await tellSize(model, config);
    if (counted !== mine) return;
    size.replaceChildren(...told);
    size.dataset.kind = config.kind;
  };
  let waiting = 0;
  method.addEventListener("input", () => {
    counted = undefined;
    size.replaceChildren();
    delete size.dataset.kind;
    clearTimeout(waiting);
    waiting = setTimeout(() => void count(), PAUSE);
  });

  let known: WebReft | undefined;
  app.on("change", () => {
    const { model } = app;
    kind.disabled = !model;
    if (model && model !== known) offer(methods(model.info.kinds));
    known = model;
    void count();
  });
  offer(FIRST);
  return { roots: [method, course], read, fill, title: () => chosen()?.title ?? kind.value };
}

/** The interventions that settings ask for. */
export function configFor({ kind, values, seed }: Settings): ReftConfig {
  return configOf(kind, values, Number(seed));
}

/** The course of a training that settings ask for. */
export function courseFor({ values, epochs, seed }: Settings): Training {
  return { epochs: Number(epochs), learningRate: Number(values.learningRate), seed: Number(seed) };
}

async function tellSize(model: WebReft, config: ReftConfig): Promise<(Node | string)[]> {
  try {
    const { trainable, percent, bytes: size } = await model.wouldTrain(config);
    return [
      data(trainable, plural(trainable, "number"), { "data-testid": "trainable" }),
      ` to train: ${percent.toPrecision(2)} % of the model, a file of about ${bytes(size)}.`,
    ];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function text(name: string): HTMLInputElement {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", "data-testid": name });
}
