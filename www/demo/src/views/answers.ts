/** Asking: the same question to the bare model and to the personalized one, side by side as they answer. */
import type { Piece } from "webreft";
import type { App } from "../app.js";
import { button, data, h, pickFile, saveFile } from "../dom.js";
import { bytes } from "../format.js";
import { QUESTIONS } from "../presets.js";

/** Tokens that an answer may have here. */
const MAX_TOKENS = 96;
/** What a persona comes in: a file of webreft's, or a directory of pyreft's or peft's, packed. */
const PERSONAS = [".safetensors", ".zip"];

export function mountAnswers(root: HTMLElement, app: App): void {
  let controller = new AbortController();
  const base = answerBox("The model as it is", "base", "Ask something.");
  const reft = answerBox("With what it learned", "reft", "Train, and it answers here, too.");

  const prompt = h("textarea", { rows: 2, "aria-label": "Question", "data-testid": "prompt", required: true });
  prompt.value = QUESTIONS[0] ?? "";
  const ask = h("button", { type: "submit", class: "primary", "data-testid": "ask" }, "Ask");
  const stop = button("Stop", { "data-testid": "ask-stop", hidden: true }, () => controller.abort("stopped"));
  const temperature = h("input", { type: "range", min: 0, max: 1.5, step: 0.1, value: 0 });
  const temperatureShown = h("output", {}, "0.0");
  temperature.addEventListener("input", () => {
    temperatureShown.textContent = temperature.valueAsNumber.toFixed(1);
  });
  const form = h(
    "form",
    { class: "question" },
    prompt,
    h(
      "div",
      { class: "row" },
      h("label", { class: "slider" }, "Temperature", temperature, temperatureShown),
      h("div", { class: "row end" }, stop, ask),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void answer();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  const tries = QUESTIONS.map((question) =>
    button(question, { class: "chip" }, () => {
      prompt.value = question;
      form.requestSubmit();
    }),
  );

  const answer = () =>
    app.run("answering", async () => {
      const { model, persona } = app;
      const question = prompt.value.trim();
      if (!model || !question) return;
      controller = new AbortController();
      const { signal } = controller;
      const sampling = { maxTokens: MAX_TOKENS, temperature: temperature.valueAsNumber, signal };
      base.begin();
      reft.clear();
      if (persona) reft.begin();
      try {
        if (persona) {
          for await (const piece of model.compare(question, { ...sampling, reft: persona.reft })) {
            (piece.side === "base" ? base : reft).add(piece);
          }
        } else {
          for await (const piece of model.generate(question, sampling)) base.add(piece);
        }
      } finally {
        base.end();
        reft.end();
      }
    });

  const origin = h("p", { class: "hint", "data-testid": "persona" });
  const save = button("Save", { "data-testid": "save" }, () =>
    app.run("filing", async () => {
      if (!app.persona) return;
      const file = new Blob([await app.persona.reft.save()], { type: "application/octet-stream" });
      saveFile(file, "persona.safetensors");
      origin.textContent = `Saved: ${bytes(file.size)}.`;
    }),
  );
  const open = (file: File) =>
    app.run("filing", async () => {
      const { model } = app;
      if (!model) return;
      const bytes = await file.arrayBuffer();
      const reft = file.name.endsWith(".zip") ? model.importReft(bytes) : model.loadReft(bytes);
      await app.usePersona({ reft: await reft, origin: file.name });
    });
  const load = button("Open", { "data-testid": "load-persona" }, () =>
    pickFile(PERSONAS.join(), (file) => void open(file)),
  );
  addEventListener("drop", (event) => {
    const file = event.dataTransfer?.files[0];
    if (!file || !PERSONAS.some((ending) => file.name.endsWith(ending))) return;
    event.preventDefault();
    void open(file);
  });

  root.append(
    h("div", { class: "panel-head" }, h("h2", { id: "answers-title" }, "Ask")),
    form,
    h("div", { class: "chips" }, ...tries),
    h("div", { class: "side-by-side" }, base.root, reft.root),
    h(
      "div",
      { class: "persona" },
      h("div", {}, h("h3", {}, "Persona"), origin),
      h("div", { class: "row end" }, load, save),
    ),
  );

  let told: App["persona"];
  app.on("change", () => {
    const idle = app.activity === "idle" && app.model !== undefined;
    ask.disabled = load.disabled = !idle;
    save.disabled = !idle || !app.persona;
    for (const chip of tries) chip.disabled = !idle;
    stop.hidden = app.activity !== "answering";
    if (app.persona !== told || !app.persona) {
      told = app.persona;
      origin.textContent = told ? `${upperFirst(told.origin)}.` : "Nothing learned yet. Train, or open a saved one.";
      if (!told) reft.clear();
    }
  });
  app.on("trained", () => void answer());
  app.changed();
}

interface AnswerBox {
  root: HTMLElement;
  begin(): void;
  add(piece: Piece): void;
  end(): void;
  clear(): void;
}

/** One answer as it comes. A screen reader hears it once, when it is whole. */
function answerBox(title: string, side: "base" | "reft", empty: string): AnswerBox {
  const text = h("p", {
    class: "answer-text",
    "aria-live": "polite",
    "data-empty": empty,
    "data-testid": `answer-${side}`,
  });
  const speed = h("p", { class: "hint number", "data-testid": `speed-${side}` });
  const root = h("article", { class: `answer ${side}` }, h("h3", {}, title), text, speed);
  let times: number[] = [];
  return {
    root,
    begin() {
      times = [];
      text.textContent = "";
      speed.textContent = "";
      text.setAttribute("aria-busy", "true");
      root.dataset.state = "running";
    },
    add(piece) {
      times.push(performance.now());
      text.append(piece.text);
      const [first, last] = [times[0], times.at(-1)];
      if (first === undefined || last === undefined || times.length < 2) return;
      const rate = (times.length - 1) / ((last - first) / 1000);
      speed.replaceChildren(`${times.length} tokens, `, data(rate, `${rate.toFixed(0)} tokens/s`));
    },
    end() {
      text.setAttribute("aria-busy", "false");
      root.dataset.state = text.textContent ? "done" : "empty";
    },
    clear() {
      text.textContent = "";
      speed.textContent = "";
      root.dataset.state = "empty";
    },
  };
}

function upperFirst(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
