/** Training: start, pause and stop, the loss as it falls; and going on with what was left in the middle. */
import type { Answer, Reft, StepProgress, TrainOptions, TrainStep, WatchOptions, WebReft } from "webreft";
import type { App } from "../app.js";
import { LossChart } from "../chart.js";
import { button, data, h, saveFile } from "../dom.js";
import { plural, seconds } from "../format.js";
import { Keeper, type Unfinished } from "../unfinished.js";
import { untilAborted } from "../until-aborted.js";
import type { ExamplesView } from "./examples.js";
import { configFor, courseFor, mountSettings } from "./settings.js";

/** Seconds between two checkpoints: what is lost at most, where an epoch does not take longer. */
const CHECKPOINT_SECONDS = 2;

export function mountTraining(root: HTMLElement, app: App, examples: ExamplesView): void {
  const settings = mountSettings(app);
  const keeper = new Keeper();

  let controller = new AbortController();
  /** Until it is gone on with; resolved with whether it is. */
  let held: Promise<boolean> | undefined;
  let release = (_goesOn: boolean) => {};
  const train = button("Train", { class: "primary", "data-testid": "train" }, () => void start());
  const pause = button("Pause", { "data-testid": "pause", hidden: true }, () => {
    if (held) {
      release(true);
      held = undefined;
    } else {
      held = new Promise((resolve) => {
        release = resolve;
      });
      controller.abort("paused");
    }
    pause.textContent = held ? "Go on" : "Pause";
  });
  const stop = button("Stop", { "data-testid": "stop", hidden: true }, () => {
    controller.abort("stopped");
    release(false);
  });

  const offer = h("div", { class: "offer", role: "status", "data-testid": "unfinished", hidden: true });
  const status = h("p", { class: "status", "data-testid": "train-status" }, "Load a model first.");
  const progress = stepProgress();
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

  const script = button("Save for pyreft", { class: "quiet", "data-testid": "script" }, () =>
    app.run("filing", async () => {
      const { model } = app;
      if (!model) return;
      const asked = settings.read();
      const reft = model.reft(configFor(asked));
      try {
        const archive = await reft.exportScript(examples.read(), courseFor(asked));
        saveFile(new Blob([archive], { type: "application/zip" }), "pyreft-script.zip");
      } finally {
        await reft.dispose();
      }
    }),
  );

  let steps: TrainStep[] = [];
  const add = (...more: TrainStep[]) => {
    steps.push(...more);
    chart.add(more);
    log.append(...more.map(line));
    const last = steps.at(-1);
    if (last) status.replaceChildren(...told(last, steps));
  };
  const clear = () => {
    controller = new AbortController();
    held = undefined;
    pause.textContent = "Pause";
    offer.hidden = true;
    log.replaceChildren();
    listed.hidden = chartBox.hidden = false;
    steps = [];
    chart.start([{ color: "--accent", dash: [] }]);
    status.textContent = "Preparing";
    spoken.textContent = "Training";
  };

  /** Trains anew, or goes on with what was left in the middle. */
  const start = (left?: Unfinished) =>
    app
      .run("training", async () => {
        const { model } = app;
        if (!model) return;
        if (left) {
          examples.fill(left.examples);
          settings.fill(left.settings);
        }
        const learned = examples.read();
        const asked = settings.read();
        clear();
        add(...(left?.steps ?? []));
        let checkpoint = left?.checkpoint;
        let kept = checkpoint;
        const keep = () => {
          if (checkpoint && checkpoint !== kept) {
            keeper.keep(model, { examples: learned, settings: asked, steps, checkpoint });
          }
          kept = checkpoint;
        };
        const watch = (): WatchOptions => ({
          checkpointSeconds: CHECKPOINT_SECONDS,
          onCheckpoint: (bytes) => {
            checkpoint = bytes;
          },
          onProgress: progress.show,
          signal: controller.signal,
        });
        let reft: Reft | undefined;
        try {
          for (;;) {
            const before = reft;
            const run = checkpoint
              ? await model.resume(checkpoint, learned, watch())
              : begin(model.reft(configFor(asked)), learned, { ...courseFor(asked), ...watch() });
            reft = run.reft;
            await before?.dispose();
            const aborted = await untilAborted(run.steps, (step) => {
              progress.hide();
              add(step);
              keep();
            });
            progress.hide();
            keep();
            if (!aborted || !(await held)) break;
            controller = new AbortController();
          }
          await keeper.forget(model);
        } finally {
          progress.hide();
          const last = steps.at(-1);
          if (reft && last) {
            const counts = `${plural(learned.length, "example")}, ${plural(last.step, "step")}`;
            await app.usePersona({ reft, origin: `${settings.title()}, trained on ${counts}` });
            spoken.textContent = `Trained ${plural(last.step, "step")}, loss ${last.loss.toFixed(3)}`;
          } else {
            status.textContent = "";
            offer.hidden = !left; // what could not be gone on with may be forgotten
          }
        }
      })
      .then(() => {
        if (app.persona) app.changed("trained");
      });

  /** Offers to go on, where a training of this model was left in the middle. */
  const look = async (model: WebReft) => {
    const left = await keeper.find(model);
    if (!left || app.model !== model || app.activity !== "idle") return;
    const last = left.steps.at(-1);
    const of = last ? ` at step ${last.step} of ${last.steps}, loss ${last.loss.toFixed(3)}` : "";
    const forget = async () => {
      offer.hidden = true;
      train.focus();
      await keeper.forget(model);
    };
    offer.replaceChildren(
      h("p", {}, `A training on ${plural(left.examples.length, "example")} was left${of}.`),
      h(
        "div",
        { class: "row end" },
        button("Forget it", { class: "quiet", "data-testid": "forget" }, () => void forget()),
        button("Go on", { "data-testid": "go-on" }, () => void start(left)),
      ),
    );
    offer.hidden = false;
  };

  chartBox.hidden = true;
  root.append(
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: "training-title" }, "Training"),
      h("div", { class: "row" }, stop, pause, train),
    ),
    offer,
    status,
    progress.element,
    chartBox,
    listed,
    ...settings.roots,
    h(
      "div",
      { class: "elsewhere" },
      h(
        "p",
        { class: "hint" },
        "The same training in Python, for a machine with more room. Open brings back what it learns.",
      ),
      script,
    ),
    spoken,
  );
  let known: WebReft | undefined;
  app.on("change", () => {
    const training = app.activity === "training";
    train.disabled = script.disabled = app.activity !== "idle" || !app.model;
    for (const choice of offer.querySelectorAll("button")) choice.disabled = train.disabled;
    pause.hidden = stop.hidden = !training;
    train.hidden = training;
    for (const part of settings.roots) part.toggleAttribute("inert", training);
    if (!app.model) status.textContent = "Load a model first.";
    else if (!log.rows.length && !training) status.textContent = "Ready.";
    if (app.activity !== "idle" || app.model === known) return;
    known = app.model;
    offer.hidden = true;
    if (known) void look(known);
  });
  app.changed();
}

/** A bar for what takes longer than a second; short steps would make it flicker. */
function stepProgress() {
  const name = h("span", {});
  const left = h("span", { class: "number" });
  const bar = h("progress", { max: "1" });
  const element = h("div", { class: "loading", hidden: true, "data-testid": "step-progress" });
  element.append(h("div", { class: "loading-line" }, name, left), bar);
  const show = ({ phase, step, steps, share, secondsLeft = 0 }: StepProgress) => {
    if (element.hidden && secondsLeft < 1) return;
    element.hidden = false;
    const told = `${PHASES[phase]} ${step} of ${steps}`;
    if (name.textContent !== told) name.textContent = told;
    bar.setAttribute("aria-label", told);
    left.textContent = secondsLeft ? `${seconds(secondsLeft)} left` : "";
    bar.value = share;
  };
  const hide = () => {
    element.hidden = true;
  };
  return { element, show, hide };
}

const PHASES: Record<StepProgress["phase"], string> = {
  prepare: "Preparing for step",
  step: "Step",
  validate: "Validating after step",
};

/** A new training; one that goes on comes in the same form. */
function begin(reft: Reft, examples: Answer[], options: TrainOptions) {
  return { reft, steps: reft.train(examples, options) };
}

function told(last: TrainStep, steps: TrainStep[]): (Node | string)[] {
  const spent = steps.reduce((sum, step) => sum + step.seconds, 0);
  const tokens = steps.reduce((sum, step) => sum + step.tokens, 0);
  return [
    `Step ${last.step} of ${last.steps}, loss `,
    data(last.loss, last.loss.toFixed(3), { "data-testid": "loss" }),
    `, ${Math.round(tokens / spent).toLocaleString("en")} tokens/s, `,
    data(spent, seconds(spent), { "data-testid": "train-seconds" }),
  ];
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
