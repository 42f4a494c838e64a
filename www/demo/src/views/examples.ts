/** The examples to learn from: a table that is edited in place. */
import type { Answer } from "webreft";
import type { App } from "../app.js";
import { button, field, h } from "../dom.js";
import { plural } from "../format.js";
import { PRESETS } from "../presets.js";

/** The table, as others use it. */
export interface ExamplesView {
  /** The examples in it. Rows that are empty on both sides do not count. */
  read(): Answer[];
  fill(examples: Answer[]): void;
}

export function mountExamples(root: HTMLElement, app: App): ExamplesView {
  const rows = h("tbody", {});
  const total = h("span", { class: "hint", "data-testid": "example-count" });
  const status = h("span", { class: "visually-hidden", role: "status" });

  const read = () =>
    [...rows.rows]
      .map((row) => [...row.querySelectorAll("textarea")].map(({ value }) => value.trim()))
      .map(([prompt = "", completion = ""]) => ({ prompt, completion }))
      .filter(({ prompt, completion }) => prompt || completion);

  const recount = () => {
    total.textContent = plural(read().length, "example");
    for (const [i, row] of [...rows.rows].entries()) {
      const [prompt, completion] = row.querySelectorAll("textarea");
      prompt?.setAttribute("aria-label", `Prompt ${i + 1}`);
      completion?.setAttribute("aria-label", `Answer ${i + 1}`);
      row.querySelector("button")?.setAttribute("aria-label", `Remove example ${i + 1}`);
    }
  };

  const row = ({ prompt, completion }: Answer) => {
    const cell = (text: string, placeholder: string) => {
      const area = h("textarea", { rows: 1, placeholder, spellcheck: "false" });
      area.value = text;
      return h("td", {}, area);
    };
    const remove = button("×", { class: "icon" }, () => {
      const next = (made.nextElementSibling ?? made.previousElementSibling)?.querySelector("textarea");
      made.remove();
      recount();
      (next ?? add).focus();
    });
    const made = h("tr", {}, cell(prompt, "What is asked"), cell(completion, "What to answer"), h("td", {}, remove));
    return made;
  };

  const fill = (examples: Answer[]) => {
    rows.replaceChildren(...examples.map(row));
    recount();
  };

  /** Puts pasted lines into rows: prompt, tab, answer. */
  const paste = (text: string, at?: HTMLTableRowElement) => {
    const examples = parse(text);
    const fresh = examples.map(row);
    if (at) at.after(...fresh);
    else rows.append(...fresh);
    for (const old of [...rows.rows]) if (!fresh.includes(old) && isEmpty(old)) old.remove();
    recount();
    status.textContent = `${plural(examples.length, "example")} pasted`;
  };

  rows.addEventListener("input", recount);
  rows.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/\t/.test(text)) return;
    event.preventDefault();
    paste(text, event.target instanceof Element ? (event.target.closest("tr") ?? undefined) : undefined);
  });

  const preset = h("select", { "data-testid": "preset" });
  for (const name of PRESETS.keys()) preset.append(h("option", { value: name }, name));
  preset.addEventListener("change", () => fill(PRESETS.get(preset.value) ?? []));

  const add = button("Add an example", { class: "quiet", "data-testid": "add-example" }, () => {
    const made = row({ prompt: "", completion: "" });
    rows.append(made);
    recount();
    made.querySelector("textarea")?.focus();
  });
  const fromClipboard = button("Paste", { class: "quiet", title: "Lines of prompt, tab, answer" }, async () => {
    paste(await navigator.clipboard.readText());
  });
  const clear = button("Clear", { class: "quiet" }, () => fill([{ prompt: "", completion: "" }]));

  root.append(
    h("div", { class: "panel-head" }, h("h2", { id: "examples-title" }, "Examples"), total),
    h(
      "div",
      { class: "row low" },
      field("Start from a style", preset),
      h("div", { class: "row end" }, add, fromClipboard, clear),
    ),
    h(
      "div",
      { class: "table-box" },
      h(
        "table",
        { class: "examples" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Prompt"),
            h("th", { scope: "col" }, "Answer"),
            h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Remove")),
          ),
        ),
        rows,
      ),
    ),
    status,
  );
  fill(PRESETS.values().next().value ?? []);

  app.on("change", () => root.toggleAttribute("inert", ["training", "comparing"].includes(app.activity)));
  return { read, fill };
}

/** Lines of prompt, tab, answer: what a spreadsheet puts on the clipboard. */
export function parse(text: string): Answer[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.split("\t").map((cell) => cell.trim()))
    .map(([prompt = "", completion = ""]) => ({ prompt, completion }))
    .filter(({ prompt, completion }) => prompt || completion);
}

function isEmpty(row: HTMLTableRowElement): boolean {
  return [...row.querySelectorAll("textarea")].every(({ value }) => value.trim() === "");
}
