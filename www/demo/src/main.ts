import "@fontsource-variable/geist/wght.css";
import "@fontsource-variable/geist-mono/wght.css";
import "@fontsource-variable/newsreader/wght.css";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { probe } from "webreft";
import { App } from "./app.js";
import { h } from "./dom.js";
import { mountAnswers } from "./views/answers.js";
import { mountExamples } from "./views/examples.js";
import { mountModel } from "./views/model.js";
import { mountProblem } from "./views/problem.js";
import { mountTheme } from "./views/theme.js";
import { mountTraining } from "./views/training.js";

const app = new App();
const panel = (name: string) => h("section", { class: `panel ${name}`, "aria-labelledby": `${name}-title` });
const [model, examples, training, answers] = [panel("model"), panel("examples"), panel("training"), panel("answers")];
const problem = h("section");
const theme = h("div");

document.body.append(
  h(
    "header",
    { class: "top" },
    h("span", { class: "brand" }, h("img", { src: "./icon.svg", alt: "", width: 28, height: 28 }), "webreft"),
    theme,
  ),
  h(
    "main",
    {},
    h(
      "div",
      { class: "opening" },
      h(
        "div",
        {},
        h("h1", {}, "Teach a language model your way of answering."),
        h(
          "p",
          { class: "lead" },
          "Ten examples, a few thousand numbers, one browser tab. The model’s own weights stay as they are; webreft " +
            "learns a small edit to what it is thinking. Everything runs on your GPU, and nothing leaves this machine.",
        ),
      ),
      model,
    ),
    problem,
    h("div", { class: "bench" }, h("div", { class: "teach" }, examples, training), answers),
  ),
  h(
    "footer",
    {},
    "webreft is free software (MIT or Apache-2.0). The method is ",
    h("a", { href: "https://arxiv.org/abs/2404.03592" }, "representation finetuning"),
    ", by Wu and others, 2024.",
  ),
);

// Each view is mounted in a task of its own: no one of them holds the page up for long.
const nextTask = () => new Promise((resolve) => setTimeout(resolve));
mountTheme(theme);
mountProblem(problem, app);
mountModel(model, app);
await nextTask();
const readExamples = mountExamples(examples, app);
await nextTask();
mountTraining(training, app, readExamples);
await nextTask();
mountAnswers(answers, app);

// A visitor whose browser cannot do this hears of it at once.
probe().catch((error) => app.fail(error));
