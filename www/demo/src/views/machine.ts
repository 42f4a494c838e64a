/** Who computes: one line that says so, and the choice. */
import type { App } from "../app.js";
import { h } from "../dom.js";
import { BACKENDS, type Backend, computesOn, meaning } from "../machine.js";

export function machineView(app: App): HTMLElement {
  const options = Object.entries(BACKENDS).map(([value, name]) => h("option", { value }, name));
  const choice = h("select", { "data-testid": "backend" }, ...options);
  choice.addEventListener("change", () => {
    app.backend = choice.value as Backend;
    const address = new URL(location.href);
    address.searchParams.set("backend", app.backend);
    history.replaceState(null, "", address); // a reload keeps the choice
    app.changed();
  });
  const words = h("p", { class: "hint", role: "status", "data-testid": "machine" });
  const label = h("label", { class: "row" }, h("span", { class: "field-name" }, "Compute on"), choice);
  app.on("change", () => {
    const { backend, machine } = app;
    choice.value = backend;
    if (!machine) return;
    words.dataset.backend = computesOn(backend, machine) ?? "";
    words.textContent = meaning(backend, machine);
    words.title = machine.reason ?? "";
  });
  return h("div", { class: "machine" }, words, label);
}
