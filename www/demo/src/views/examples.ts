/** The examples to learn from: a table that is edited in place. */
import { type Answer, type Example, parseExamples, WebReftError } from "webreft";
import type { App } from "../app.js";
import { button, field, h, pickFile } from "../dom.js";
import { plural } from "../format.js";
import { PRESETS } from "../presets.js";

/** What a file of examples may be. */
const FORMS = "JSON lines, a JSON array, CSV or TSV with a header";

/** Names of columns of which a header has one. */
const HEADERS = ["prompt", "completion", "instruction", "output"];

/** An example that has a row: both sides are texts. */
export type Row = Answer & { prompt: string };

/** The table, as others use it. */
export interface ExamplesView {
  /** The examples in it. Rows that are empty on both sides do not count. */
  read(): Row[];
  fill(examples: Row[]): void;
}

export function mountExamples(root: HTMLElement, app: App): ExamplesView {
  const rows = h("tbody", {});
  const total = h("span", { class: "hint", "data-testid": "example-count" });
  const status = h("span", { class: "visually-hidden", role: "status" });
  const notice = h("p", { class: "hint", "data-testid": "examples-notice" });

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

  const row = ({ prompt, completion }: Row) => {
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

  const fill = (examples: Row[]) => {
    rows.replaceChildren(...examples.map(row));
    recount();
  };

  /** Puts pasted examples into rows. */
  const paste = async (text: string, at?: HTMLTableRowElement) => {
    const examples = await readRows(withHeader(text));
    if (!examples) return;
    const fresh = examples.map(row);
    if (at) at.after(...fresh);
    else rows.append(...fresh);
    for (const old of [...rows.rows]) if (!fresh.includes(old) && isEmpty(old)) old.remove();
    recount();
    status.textContent = `${plural(examples.length, "example")} pasted`;
  };

  /** Reads examples; says what is wrong with them, or which fields are not read. */
  const readRows = async (source: string | Blob): Promise<Row[] | undefined> => {
    try {
      const { examples, warnings } = await parseExamples(source);
      notice.textContent = warnings.join(" ");
      return rowsOf(examples);
    } catch (error) {
      notice.textContent = app.fail(error).message;
      return undefined;
    }
  };

  const open = async (file: File) => {
    const examples = await readRows(file);
    if (!examples) return;
    fill(examples);
    status.textContent = `${plural(examples.length, "example")} from ${file.name}`;
  };

  rows.addEventListener("input", recount);
  rows.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/\t/.test(text)) return;
    event.preventDefault();
    void paste(text, event.target instanceof Element ? (event.target.closest("tr") ?? undefined) : undefined);
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
  const fromClipboard = button(
    "Paste",
    { class: "quiet", title: `Lines of prompt, tab, answer; or ${FORMS}` },
    async () => {
      await paste(await navigator.clipboard.readText());
    },
  );
  const fromFile = button("Open a file", { class: "quiet", title: FORMS, "data-testid": "open-examples" }, () => {
    pickFile(".jsonl,.json,.csv,.tsv,.txt", (file) => void open(file));
  });
  const clear = button("Clear", { class: "quiet" }, () => fill([{ prompt: "", completion: "" }]));

  root.append(
    h("div", { class: "panel-head" }, h("h2", { id: "examples-title" }, "Examples"), total),
    h(
      "div",
      { class: "row low" },
      field("Start from a style", preset),
      h("div", { class: "row end" }, add, fromClipboard, fromFile, clear),
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
    notice,
    status,
  );
  fill(PRESETS.values().next().value ?? []);

  app.on("change", () => root.toggleAttribute("inert", ["training", "comparing"].includes(app.activity)));
  return { read, fill };
}

/** Cells of a spreadsheet come without a header: prompt, tab, answer. Other texts are as they are. */
export function withHeader(text: string): string {
  const [first = ""] = text.trimStart().split(/\r?\n/, 1);
  const cells = first.split("\t").map((cell) => cell.trim().toLowerCase());
  const headed = cells.length < 2 || cells.some((cell) => HEADERS.includes(cell)) || /^[[{]/.test(first);
  return headed ? text : `prompt\tcompletion\n${text}`;
}

/** The examples as rows; the table has no place for conversations and the like. */
export function rowsOf(examples: Example[]): Row[] {
  return examples.map((example, i) => {
    if ("completion" in example && typeof example.prompt === "string") return { ...example, prompt: example.prompt };
    throw new WebReftError("input", `example ${i + 1}: the table holds a prompt and an answer, both texts`);
  });
}

function isEmpty(row: HTMLTableRowElement): boolean {
  return [...row.querySelectorAll("textarea")].every(({ value }) => value.trim() === "");
}
