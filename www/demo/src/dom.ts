/** Elements, made in one expression. */

type Attributes = Record<string, string | number | boolean | undefined>;

/** `h("p", { class: "note" }, "text")`. An attribute that is false or undefined is left out. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** A place that `index.html` keeps for a view. */
export function part(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no ${id}`);
  return element;
}

/** Resolves when what was added so far is laid out and drawn, in a task of its own. */
export function drawn(): Promise<void> {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

/** A button, and what it does. */
export function button(label: string, attributes: Attributes, onClick: () => void): HTMLButtonElement {
  const element = h("button", { type: "button", ...attributes }, label);
  element.addEventListener("click", onClick);
  return element;
}

/** A field with its name above it. */
export function field(label: string, input: HTMLElement, hint?: string): HTMLLabelElement {
  const parts = [h("span", { class: "field-name" }, label), input];
  if (hint) parts.push(h("span", { class: "hint" }, hint));
  return h("label", { class: "field" }, ...parts);
}

/** A field for a number. */
export function number(attributes: Attributes): HTMLInputElement {
  return h("input", { type: "number", required: true, ...attributes });
}

/** A value as people read it, with the exact one in the markup. */
export function data(value: number, text: string, attributes: Attributes = {}): HTMLDataElement {
  return h("data", { value, ...attributes }, text);
}

/** Asks for a file. */
export function pickFile(accept: string, onFile: (file: File) => void): void {
  pick(h("input", { type: "file", accept }), ([file]) => file && onFile(file));
}

/** Asks for files, one or several. */
export function pickFiles(accept: string, onFiles: (files: File[]) => void): void {
  pick(h("input", { type: "file", accept, multiple: true }), onFiles);
}

/** The input is made anew each time, so the same file can be chosen twice. */
function pick(input: HTMLInputElement, onFiles: (files: File[]) => void): void {
  input.addEventListener("change", () => {
    if (input.files?.length) onFiles([...input.files]);
  });
  input.click();
}

/** Has the browser save a file. */
export function saveFile(file: Blob, name: string): void {
  const href = URL.createObjectURL(file);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
