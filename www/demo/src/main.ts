import "./fonts.css";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { probe } from "webreft";
import { App } from "./app.js";
import { drawn, part } from "./dom.js";
import { backendIn } from "./machine.js";
import { mountAnswers } from "./views/answers.js";
import { mountCompare } from "./views/compare.js";
import { mountExamples } from "./views/examples.js";
import { mountModel } from "./views/model.js";
import { mountProblem } from "./views/problem.js";
import { mountTheme } from "./views/theme.js";
import { mountTraining } from "./views/training.js";

// All at once: one that is first used after the model is there would be asked for then.
for (const font of document.fonts) void font.load().catch(() => {}); // the system's will do

const app = new App();

// Each view is mounted, laid out and drawn before the next: no one of them holds the page up for long.
await drawn();
mountTheme(part("theme"));
mountProblem(part("problem"), app);
mountModel(part("model"), app);
await drawn();
const examples = mountExamples(part("examples"), app);
await drawn();
mountTraining(part("training"), app, examples);
await drawn();
mountAnswers(part("answers"), app);
await drawn();
mountCompare(part("compare"), app, examples);

try {
  app.backend = backendIn(location.search);
  app.machine = await probe();
  app.changed();
} catch (error) {
  app.fail(error);
}
