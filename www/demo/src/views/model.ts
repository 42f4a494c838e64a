/** The model: chosen, loaded with progress, and then told about. */
import { type LoadProgress, type ModelInfo, type ModelSource, type Recovery, WebReft } from "webreft";
import builtin from "../../../../nano/webreft-nano-q8_0.gguf?url";
import type { App } from "../app.js";
import { button, data, h, pickFiles } from "../dom.js";
import { bytes, count } from "../format.js";
import { machineView } from "./machine.js";
import { amountOf, phaseOf } from "./phase.js";
import { mountRecovery } from "./recovery.js";
import { offers, storedModels } from "./shelf.js";

export function mountModel(root: HTMLElement, app: App): void {
  let controller = new AbortController();
  const notice = mountRecovery();
  const chooser = h("div", { class: "chooser" });
  const loading = h("div", { class: "loading", hidden: true });
  const facts = h("dl", { class: "facts", "data-testid": "model-facts", hidden: true });

  const load = (source: ModelSource, name: string, cache = true) =>
    app.run("loading", async () => {
      controller = new AbortController();
      show(loading);
      phase.textContent = `Opening ${name}`;
      amount.textContent = "";
      bar.removeAttribute("value");
      try {
        await app.useModel(undefined);
        const { backend } = app;
        const { signal } = controller;
        const model = await WebReft.load(source, { backend, signal, onProgress, onRecovery, cache });
        await app.useModel(model);
        tell(facts, model.info);
      } finally {
        void shelf.refresh();
        show(app.model ? facts : chooser);
        change.hidden = !app.model;
      }
    });

  const phase = h("span", { "data-testid": "load-phase" });
  const amount = h("span", { class: "number" });
  const bar = h("progress", { "aria-label": "Loading the model" });
  const onProgress = (progress: LoadProgress) => {
    phase.textContent = phaseOf(progress);
    amount.textContent = amountOf(progress);
    const { loaded, total } = progress;
    if (total) bar.value = loaded / total;
    else bar.removeAttribute("value");
  };
  const onRecovery = (recovery: Recovery) => {
    if (recovery.state === "back") tell(facts, recovery.info);
    notice(recovery);
  };
  const cancel = button("Pause", { class: "quiet", "data-testid": "load-cancel" }, () => controller.abort("paused"));
  loading.append(h("div", { class: "loading-line" }, phase, amount), bar, cancel);

  const address = h("input", {
    placeholder: "hf:owner/name:Q4_K_M or https://…/model.gguf",
    "aria-label": "Address of a GGUF file, or a repository on the Hugging Face Hub",
    spellcheck: "false",
    required: true,
    "data-testid": "load-url",
  });
  const byAddress = h("form", { class: "row" }, address, h("button", { type: "submit" }, "Load"));
  byAddress.addEventListener("submit", (event) => {
    event.preventDefault();
    void load(address.value, address.value);
  });
  const loadFiles = (files: File[]) => void load(files, files.map(({ name }) => name).join(", "));
  const pick = () => pickFiles(".gguf,.safetensors,.json,.jinja", loadFiles);
  const shelf = storedModels(app, (source, name) => void load(source, name));
  chooser.append(
    button("Load webreft-nano", { class: "primary", "data-testid": "load-builtin" }, () => {
      void load(new URL(builtin, document.baseURI), "webreft-nano", false); // it comes with the page
    }),
    h(
      "p",
      { class: "hint" },
      "Our own small model, which comes with this page. Or bring your own, in GGUF or as a folder of safetensors: drop it anywhere, ",
      button("choose its files", { class: "link", "data-testid": "load-file" }, pick),
      ", or give its address. What is downloaded is stored in this browser; paused, it goes on later.",
    ),
    byAddress,
    machineView(app),
    shelf.element,
    offers(app, (source, name) => void load(source, name)),
  );

  const change = button("Another model", { class: "quiet", hidden: true }, () => {
    const back = chooser.hidden;
    show(back ? chooser : facts);
    change.textContent = back ? "Keep this one" : "Another model";
  });
  const show = (part: HTMLElement) => {
    for (const each of [chooser, loading, facts]) each.hidden = each !== part;
    change.textContent = "Another model";
  };
  root.append(
    h("div", { class: "panel-head" }, h("h2", { id: "model-title" }, "Model"), change),
    chooser,
    loading,
    facts,
  );

  void shelf.refresh();
  dropAnywhere(loadFiles);
  app.on("change", () => {
    for (const control of chooser.querySelectorAll("button, input, select")) {
      control.toggleAttribute("disabled", app.activity !== "idle");
    }
    change.disabled = app.activity !== "idle";
    if (app.activity !== "idle") return;
    if (app.model) {
      void tellMemory(facts, app.model);
    } else {
      change.hidden = true;
      show(chooser);
    }
  });
}

function tell(facts: HTMLElement, info: ModelInfo): void {
  const fact = (name: string, ...value: (Node | string)[]) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  facts.replaceChildren(
    fact("Model", h("span", { "data-testid": "model-name" }, info.name)),
    fact(
      "Weights",
      data(info.nParams, count(info.nParams), { "data-testid": "model-params" }),
      ` in ${info.formats.join(", ")}`,
    ),
    fact("Shape", `${info.nLayer} layers of ${info.nEmbd}, ${info.architecture}`),
    fact("Context", `${info.nCtx.toLocaleString("en")} tokens of ${info.nVocab.toLocaleString("en")}`),
    fact(
      "Computes on",
      h("span", { "data-testid": "device", "data-backend": info.backend }, info.adapter?.name ?? info.device),
      info.adapter?.software ? " (software)" : "",
    ),
    fact("Memory", h("span", { class: "memory" })),
    ...info.warnings.map((warning) => fact("To know", warning)),
  );
}

async function tellMemory(facts: HTMLElement, model: WebReft): Promise<void> {
  const memory = await model.memory().catch(() => undefined); // put away meanwhile
  if (!memory) return;
  const part = (n: number, name: string, where: string) => [data(n, bytes(n), { "data-testid": name }), where];
  const onGpu = model.info.backend === "gpu" ? part(memory.gpu, "gpu-bytes", " on the GPU, ") : [];
  facts.querySelector(".memory")?.replaceChildren(...onGpu, ...part(memory.wasm, "wasm-bytes", " wasm heap"));
}

function dropAnywhere(onFiles: (files: File[]) => void): void {
  const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    const isPersona = files.length === 1 && files[0]?.name.endsWith(".safetensors");
    if (!isPersona) onFiles(files);
  });
}
