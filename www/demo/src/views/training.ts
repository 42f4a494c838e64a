/** Training: settings, start, pause and stop, the loss as it falls. */
import type { Answer, ReftConfig, TrainStep } from "webreft";
import type { App } from "../app.js";
import { LossChart } from "../chart.js";
import { button, data, field, h } from "../dom.js";
import { plural, seconds } from "../format.js";

export function mountTraining(root: HTMLElement, app: App, readExamples: () => Answer[]): void {
  const layers = h("input", { type: "text", value: "1", size: 8, "data-testid": "layers", autocomplete: "off" });
  const rank = number("4", { min: 1, max: 256 });
  const positions = h("input", { type: "text", value: "l1", size: 8, "data-testid": "positions", autocomplete: "off" });
  const epochs = number("40", { min: 1, max: 10000, "data-testid": "epochs" });
  const rate = number("0.01", { min: 0, max: 1, step: "any" });
  const seed = number("0", { min: 0 });
  const settings = h(
    "details",
    { class: "settings" },
    h("summary", {}, "Settings"),
    h(
      "div",
      { class: "fields" },
      field("Layers", layers, "2, 4 or all"),
      field("Rank", rank, "size of the edit"),
      field("Positions", positions, "f1+l1: first and last"),
      field("Epochs", epochs),
      field("Learning rate", rate),
      field("Seed", seed),
    ),
  );

  let controller = new AbortController();
  let held: Promise<void> | undefined;
  let release = () => {};
  const train = button("Train", { class: "primary", "data-testid": "train" }, () => void start());
  const pause = button("Pause", { "data-testid": "pause", hidden: true }, () => {
    if (held) {
      release();
      held = undefined;
    } else {
      held = new Promise((resolve) => {
        release = resolve;
      });
    }
    pause.textContent = held ? "Go on" : "Pause";
  });
  const stop = button("Stop", { "data-testid": "stop", hidden: true }, () => {
    controller.abort("stopped");
    release();
  });

  const status = h("p", { class: "status", "data-testid": "train-status" }, "Load a model first.");
  const spoken = h("span", { class: "visually-hidden", role: "status" });
  const chartBox = h("div", {
    class: "chart",
    role: "img",
    "aria-label": "Loss after each step; the steps are listed below",
  });
  const chart = new LossChart(chartBox);
  const log = h("tbody", { "data-testid": "steps" });
  const listed = h(
    "details",
    { class: "steps", hidden: true },
    h("summary", {}, "Every step"),
    h(
      "div",
      { class: "table-box" },
      h("table", {}, h("thead", {}, heads("Step", "Epoch", "Loss", "Rate", "Tokens", "Time")), log),
    ),
  );

  const start = () =>
    app
      .run("training", async () => {
        const { model } = app;
        if (!model) return;
        const examples = readExamples();
        const config: ReftConfig = {
          kind: "loreft",
          layers: parseLayers(layers.value),
          rank: rank.valueAsNumber,
          positions: positions.value.trim(),
          seed: seed.valueAsNumber,
        };
        controller = new AbortController();
        held = undefined;
        pause.textContent = "Pause";
        log.replaceChildren();
        listed.hidden = chartBox.hidden = false;
        chart.start();
        status.textContent = "Preparing";
        spoken.textContent = "Training";
        const reft = model.reft(config);
        let last: TrainStep | undefined;
        let spent = 0;
        const options = { epochs: epochs.valueAsNumber, learningRate: rate.valueAsNumber, seed: seed.valueAsNumber };
        try {
          for await (const step of reft.train(examples, options)) {
            last = step;
            spent += step.seconds;
            chart.add(step.step, step.loss, step.steps);
            log.append(line(step));
            tell(step, spent);
            await held;
            if (controller.signal.aborted) break;
          }
        } finally {
          if (last) {
            const steps = plural(last.step, "step");
            await app.usePersona({ reft, origin: `trained on ${plural(examples.length, "example")}, ${steps}` });
            spoken.textContent = `Trained ${steps}, loss ${last.loss.toFixed(3)}`;
          } else {
            status.textContent = "";
          }
        }
      })
      .then(() => {
        if (app.persona) app.changed("trained");
      });

  const tell = (step: TrainStep, spent: number) => {
    status.replaceChildren(
      `Step ${step.step} of ${step.steps}, loss `,
      data(step.loss, step.loss.toFixed(3), { "data-testid": "loss" }),
      `, ${Math.round(step.tokens / step.seconds).toLocaleString("en")} tokens/s, `,
      data(spent, seconds(spent), { "data-testid": "train-seconds" }),
    );
  };

  chartBox.hidden = true;
  root.append(
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "training-title" }, "Training"),
      h("div", { class: "row" }, stop, pause, train),
    ),
    status,
    chartBox,
    listed,
    settings,
    spoken,
  );
  app.on("change", () => {
    const training = app.activity === "training";
    train.disabled = app.activity !== "idle" || !app.model;
    pause.hidden = stop.hidden = !training;
    train.hidden = training;
    settings.toggleAttribute("inert", training);
    if (!app.model) status.textContent = "Load a model first.";
    else if (!log.rows.length && !training) status.textContent = "Ready.";
  });
  app.changed();
}

function line({ step, epoch, loss, learningRate, tokens, seconds: s }: TrainStep): HTMLTableRowElement {
  return h(
    "tr",
    {},
    h("td", {}, data(step, String(step))),
    h("td", {}, String(epoch)),
    h("td", {}, data(loss, loss.toFixed(4))),
    h("td", {}, learningRate.toPrecision(3)),
    h("td", {}, String(tokens)),
    h("td", {}, data(s, seconds(s))),
  );
}

function heads(...names: string[]): HTMLTableRowElement {
  return h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)));
}

function number(value: string, attributes: Record<string, string | number>): HTMLInputElement {
  return h("input", { type: "number", value, required: true, ...attributes });
}

/** `all`, or numbers with anything between them. */
function parseLayers(text: string): ReftConfig["layers"] {
  return text.trim() === "all" ? "all" : [...text.matchAll(/\d+/g)].map(Number);
}
