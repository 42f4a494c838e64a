/** What went wrong and what to do about it: the only place where the page says so. */
import type { ErrorKind } from "webreft";
import type { App } from "../app.js";
import { button, h } from "../dom.js";

const ADVICE: Record<ErrorKind, { title: string; advice: string }> = {
  file: {
    title: "This file could not be used",
    advice: "Check that it is a complete GGUF file, or choose another one.",
  },
  unsupported: {
    title: "This does not work here",
    advice: "The message names what webreft supports. Choose another model, or another browser.",
  },
  device: {
    title: "The machine did not do it",
    advice:
      "A GPU may be missing, out of memory or reset: close other tabs that use it, then load the model again, or choose the CPU " +
      "under Compute on. On the CPU, choose a smaller model.",
  },
  input: { title: "This cannot be done as asked", advice: "Change what the message names, and try again." },
  aborted: { title: "Ended", advice: "" },
  bug: {
    title: "webreft made a mistake",
    advice: "Try again; if this happens again, load the model again, and please report the message.",
  },
};

export function mountProblem(root: HTMLElement, app: App): void {
  root.className = "problem";
  root.setAttribute("role", "alert");
  root.dataset.testid = "problem";
  root.hidden = true;
  let shown: App["problem"];
  const close = () => {
    app.problem = undefined;
    app.changed();
  };
  const tryAgain = button("Try again", { "data-testid": "try-again" }, () => void app.again?.());
  app.on("change", () => {
    tryAgain.hidden = !app.again;
    tryAgain.disabled = app.activity !== "idle";
    if (app.problem === shown) return;
    shown = app.problem;
    root.hidden = !shown;
    root.replaceChildren();
    if (!shown) return;
    const { title, advice } = ADVICE[shown.kind];
    root.append(
      h(
        "div",
        {},
        h("h2", {}, title),
        h("p", { class: "reason", "data-kind": shown.kind }, shown.message),
        h("p", {}, advice),
      ),
      h("div", { class: "row end" }, tryAgain, button("Close", { class: "quiet" }, close)),
    );
    root.scrollIntoView({ block: "nearest" });
  });
}
