/** The methods beside each other: each is trained on the same examples, and asked about those that are held back. */
import type { Answer, TrainStep, WebReft } from "webreft";
import { type App, asProblem, mayEndModel } from "../app.js";
import { type Curve, LossChart } from "../chart.js";
import { button, data, field, h, number } from "../dom.js";
import { bytes, plural, seconds } from "../format.js";
import { FIRST, type Method, methods } from "../methods.js";
import { untilAborted } from "../until-aborted.js";
import type { ExamplesView } from "./examples.js";
import { configFor, courseFor, type Settings } from "./settings.js";

/** The share of the examples that is held back. */
const HELD = 0.3;

/** The kinds that are compared unless others are chosen. */
const USUAL = ["loreft", "lora"];

/** What the table says of each. */
const COLUMNS = ["Trained numbers", "File", "Lowest loss", "Accuracy there", "At step", "Time"] as const;

type Column = (typeof COLUMNS)[number];

/** Two curves of a comparison differ in their colour or in their dashes, and neighbours in both. */
const COLORS = ["--curve-1", "--curve-2", "--curve-3", "--curve-4", "--curve-5"];
const DASHES = [[], [9, 4], [2, 3], [9, 3, 2, 3]];

export function mountCompare(root: HTMLElement, app: App, examples: ExamplesView): void {
  let controller = new AbortController();
  const compare = button("Compare", { class: "primary", "data-testid": "compare" }, () => void start());
  const stop = button("Stop", { "data-testid": "compare-stop", hidden: true }, () => controller.abort());
  const choices = h("fieldset", { class: "choices", "data-testid": "compare-kinds" });
  const epochs = number({ min: 1, max: 10000, value: 40, "data-testid": "compare-epochs" });
  const seed = number({ min: 0, value: 0 });
  const fields = h("div", { class: "fields" }, field("Epochs", epochs), field("Seed", seed, "the same for all"));
  const status = h("p", { class: "status", "data-testid": "compare-status" });
  const spoken = h("span", { class: "visually-hidden", role: "status" });
  const chartBox = h("div", {
    class: "chart",
    role: "img",
    "aria-label": "Loss of the held-back examples after each step, a line for each method; the table has the lowest",
  });
  const chart = new LossChart(chartBox);
  const rows = h("tbody", { "data-testid": "compared" });
  const head = h("tr", {}, ...["Method", ...COLUMNS].map((name) => h("th", { scope: "col" }, name)));
  const table = h("div", { class: "table-box" }, h("table", { class: "compared" }, h("thead", {}, head), rows));
  const results = h(
    "div",
    { class: "results", hidden: true },
    h("h3", {}, "Loss of what was held back"),
    chartBox,
    table,
  );

  let offered: Method[] = [];
  let wanted = USUAL;
  const offer = (list: Method[]) => {
    offered = list;
    const box = ({ kind, title, words }: Method) => {
      const checked = wanted.includes(kind);
      return h("label", { title: words }, h("input", { type: "checkbox", value: kind, checked }), title);
    };
    choices.replaceChildren(h("legend", { class: "field-name" }, "Methods"), ...list.map(box));
  };

  /** Trains one after the other. What is trained is for the table alone. */
  const start = () =>
    app.run("comparing", async () => {
      const { model } = app;
      const chosen = offered.filter(({ kind }) => wanted.includes(kind));
      if (!model || chosen.length === 0) return;
      controller = new AbortController();
      const learned = examples.read();
      rows.replaceChildren();
      results.hidden = false;
      chart.start(chosen.map((_, at) => curve(at)));
      for (const [at, method] of chosen.entries()) {
        if (!controller.signal.aborted) await one(model, learned, method, at, chosen.length);
      }
      const held = Math.max(1, Math.round(HELD * learned.length));
      const how = controller.signal.aborted ? "Stopped" : "Done";
      status.textContent = `${how}: ${held} of ${plural(learned.length, "example")} held back, seed ${seed.value}.`;
    });

  /** Trains one of so many. If it fails its row says so, and the others go on as long as there is a model. */
  const one = async (model: WebReft, learned: Answer[], method: Method, at: number, many: number) => {
    const row = methodRow(method, curve(at));
    const asked = { kind: method.kind, values: method.values, epochs: epochs.value, seed: seed.value };
    const where = `${method.title}, ${at + 1} of ${many}`;
    status.textContent = `${where}: preparing`;
    rows.append(row.root);
    try {
      await train(model, asked, learned, row, controller.signal, (step) => {
        row.add(step);
        status.textContent = `${where}: step ${step.step} of ${step.steps}`;
        const { validationLoss } = step;
        if (validationLoss !== undefined) chart.add([{ ...step, loss: validationLoss }], at);
      });
    } catch (error) {
      const problem = asProblem(error);
      row.fail(problem.message);
      if (mayEndModel(problem)) throw problem;
    }
    spoken.textContent = row.told();
  };

  root.append(
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "compare-title" }, "Compare methods"),
      h("div", { class: "row" }, stop, compare),
    ),
    h(
      "p",
      { class: "prose" },
      "Trains each method on your examples from the values it starts with here, one after the other. Three in ten of the ",
      "examples, the same ones for all, are held back: of ten, seven are learned and three only asked after each epoch. ",
      "What you trained yourself stays as it is.",
    ),
    choices,
    fields,
    status,
    results,
    h(
      "p",
      { class: "hint prose" },
      "What it can say: whether a method learns from so little at all, how fast, and at what size. What it cannot: which ",
      "is better. Three questions are few, and the lowest loss is the best of many looks at these very three; another ",
      "seed, other examples or another learning rate may turn the order round. Loss is in nats per token of the answers; ",
      "accuracy is the share of their tokens that the model would have chosen, not of answers that are right.",
    ),
    spoken,
  );

  let known: WebReft | undefined;
  const show = () => {
    const { model, activity } = app;
    const comparing = activity === "comparing";
    if (model && model !== known) {
      offer(methods(model.info.kinds));
      rows.replaceChildren();
      results.hidden = true;
    }
    if (model !== known || !model) status.textContent = model ? "Ready." : "Load a model first.";
    known = model;
    compare.disabled = activity !== "idle" || !model || wanted.length === 0;
    compare.hidden = comparing;
    stop.hidden = !comparing;
    for (const part of [choices, fields]) part.toggleAttribute("inert", comparing);
  };
  choices.addEventListener("change", () => {
    wanted = [...choices.querySelectorAll<HTMLInputElement>("input:checked")].map(({ value }) => value);
    show();
  });
  app.on("change", show);
  offer(FIRST);
  show();
}

/** Trains by the given settings to the end or an abort, and lets go of it. */
async function train(
  model: WebReft,
  asked: Settings,
  learned: Answer[],
  row: MethodRow,
  signal: AbortSignal,
  hear: (step: TrainStep) => void,
): Promise<void> {
  const reft = model.reft(configFor(asked));
  try {
    row.size((await reft.trainableParameters()).trainable);
    await untilAborted(reft.train(learned, { ...courseFor(asked), validation: HELD, signal }), hear);
    row.file((await reft.save()).length);
  } finally {
    await reft.dispose();
  }
}

interface MethodRow {
  root: HTMLTableRowElement;
  /** How many numbers it trains. */
  size(trainable: number): void;
  /** A step that was made. */
  add(step: TrainStep): void;
  /** Bytes of what was learned, as a file. */
  file(size: number): void;
  fail(message: string): void;
  /** The row in a sentence. */
  told(): string;
}

function methodRow({ kind, title }: Method, drawn: Curve): MethodRow {
  const name = h("th", { scope: "row" }, sample(drawn), title);
  const cells = new Map(COLUMNS.map((column) => [column, h("td", { "data-column": column })]));
  const root = h("tr", { "data-kind": kind }, name, ...cells.values());
  const put = (column: Column, value: number, text: string) => cells.get(column)?.replaceChildren(data(value, text));
  let lowest = Number.POSITIVE_INFINITY;
  let spent = 0;
  return {
    root,
    size: (trainable) => put("Trained numbers", trainable, trainable.toLocaleString("en")),
    add(step) {
      spent += step.seconds;
      put("Time", spent, seconds(spent));
      const { validationLoss, validationAccuracy } = step;
      if (validationLoss === undefined || validationAccuracy === undefined || !(validationLoss < lowest)) return;
      lowest = validationLoss;
      put("Lowest loss", lowest, lowest.toFixed(3));
      put("Accuracy there", validationAccuracy, `${Math.round(100 * validationAccuracy)} %`);
      put("At step", step.step, `${step.step} of ${step.steps}`);
    },
    file: (size) => put("File", size, bytes(size)),
    fail: (message) => root.replaceChildren(name, h("td", { colspan: COLUMNS.length, class: "failed" }, message)),
    told: () => `${title}: ${root.querySelector(".failed")?.textContent ?? `lowest loss ${lowest.toFixed(3)}`}`,
  };
}

function curve(at: number): Curve {
  return { color: COLORS[at % COLORS.length] ?? "", dash: DASHES[at % DASHES.length] ?? [] };
}

/** A piece of a curve, as it is drawn. */
function sample({ color, dash }: Curve): HTMLElement {
  let end = 0;
  const stops = dash.map((length, at) => {
    const [start, paint] = [end, at % 2 === 0 ? "currentcolor" : "transparent"];
    end += length;
    return `${paint} ${start}px ${end}px`;
  });
  const line = dash.length > 0 ? `repeating-linear-gradient(90deg, ${stops.join(", ")})` : "currentcolor";
  return h("span", { class: "sample", style: `color: var(${color}); background: ${line}` });
}
