/** Models to choose from, what the chosen one would take, and those that are stored. */
import { type Inspection, type ModelSource, type StoredModel, WebReft } from "webreft";
import type { App } from "../app.js";
import { button, h } from "../dom.js";
import { bytes, count } from "../format.js";
import { computesOn } from "../machine.js";
import { isSensibleOnCpu, OFFERS, type Offer } from "../models.js";

/** Loads a model by its source; the name is shown meanwhile. */
export type Load = (source: ModelSource, name: string) => void;

/** The list of real models. Choosing one looks at it first, and only then offers to load it. */
export function offers(app: App, load: Load): HTMLElement {
  const about = h("div", { class: "about", "aria-live": "polite", "data-testid": "about" });
  let asking = new AbortController();
  const look = async ({ name, source }: Offer) => {
    asking.abort("another one was chosen");
    const mine = new AbortController();
    asking = mine;
    about.replaceChildren(h("p", { class: "hint" }, `Looking at ${name} …`));
    const start = button(`Load ${name}`, { class: "primary", "data-testid": "load-offer" }, () => load(source, name));
    start.disabled = app.activity !== "idle";
    try {
      const told = await WebReft.inspect(source, { backend: app.backend, signal: mine.signal });
      const free = await WebReft.models.room().then(
        ({ free }) => free,
        () => undefined, // without storage the model is read in ranges, and a warning says so
      );
      if (mine.signal.aborted) return;
      about.replaceChildren(...verdict(name, told, free), ...(told.problem ? [] : [start]));
    } catch (error) {
      if (mine.signal.aborted) return;
      const reason = error instanceof Error ? error.message : String(error);
      about.replaceChildren(h("p", {}, `${name} cannot be looked at: `, h("span", { class: "hint" }, reason)), start);
    }
  };
  const onCpu = (offer: Offer) => {
    const words = isSensibleOnCpu(offer) ? "good on a CPU" : "slow on a CPU";
    const tag = h("span", { class: "hint", "data-testid": "on-cpu", hidden: true }, `, ${words}`);
    app.on("change", () => {
      tag.hidden = computesOn(app.backend, app.machine) !== "cpu";
    });
    return tag;
  };
  const rows = OFFERS.map((offer) => {
    const { name, source, bytes: size, license, good } = offer;
    const choose = button("Look", { "aria-label": `Look at ${name}`, "data-testid": "offer" }, () => void look(offer));
    return h(
      "li",
      {},
      h(
        "div",
        {},
        h("strong", {}, name),
        h("span", { class: "hint" }, ` about ${bytes(size)}, ${license}`),
        onCpu(offer),
      ),
      choose,
      h("p", {}, good),
      h("p", { class: "hint source" }, source),
    );
  });
  return h(
    "details",
    { class: "offers" },
    h("summary", {}, "Real models from the Hugging Face Hub"),
    about,
    h("ul", { class: "shelf" }, ...rows),
  );
}

/** What looking at a model has told, in sentences. */
function verdict(name: string, told: Inspection, free: number | undefined): HTMLElement[] {
  const { nParams, formats, problem, needs, download, stored } = told;
  const what = `${name}: ${count(nParams)} weights in ${formats.join(", ")}.`;
  const rest = download - stored;
  const fetched =
    rest === 0
      ? "It is stored already."
      : `${bytes(rest)} are to be fetched${stored ? `, ${bytes(stored)} are stored` : ""}.`;
  const isTooLittle = free !== undefined && rest > free;
  const room = isTooLittle
    ? `The browser has room for ${bytes(free)}: it is not stored, and fetched anew each time.`
    : "";
  if (problem || !needs) return [h("p", {}, what), h("p", {}, `It does not load: ${problem}`)];
  const { load, generate, train, contextLength, trainTokens, trainBatch } = needs;
  const takes =
    `It takes ${bytes(load.bytes)} of memory, ${bytes(generate.bytes)} while it answers (${contextLength} tokens of context), ` +
    `${bytes(train.bytes)} while it learns (${trainBatch} examples of ${trainTokens} tokens).`;
  const fits = train.fits
    ? "It fits."
    : generate.fits
      ? "It fits to answer, not to learn."
      : "It does not fit: the machine has less to give.";
  return [h("p", {}, what, " ", fetched, " ", room), h("p", {}, takes, " ", h("strong", {}, fits))];
}

/** The stored models: gone on with, loaded or removed. Empty where there are none. */
export function storedModels(app: App, load: Load): { element: HTMLElement; refresh(): Promise<void> } {
  const list = h("ul", { class: "shelf", "data-testid": "stored" });
  const title = h("h3", {}, "Stored in this browser");
  const room = h("p", { class: "hint", "data-testid": "room" });
  const element = h("div", { class: "stored", hidden: true }, title, room, list);
  const refresh = async () => {
    const listed = await WebReft.models.list().catch(() => []);
    const models = listed.filter(({ stored }) => stored > 0); // of others nothing came
    const all = models.reduce((sum, { stored }) => sum + stored, 0);
    title.textContent = `Stored in this browser: ${bytes(all)}`;
    room.textContent = models.length === 0 ? "" : await roomLeft().catch(() => "");
    element.hidden = models.length === 0;
    list.replaceChildren(...models.map(row));
  };
  const row = (model: StoredModel) => {
    const [source = model.id] = model.sources;
    const name = model.files.find(({ name }) => /\.(gguf|safetensors)$/.test(name))?.name ?? source;
    const size = model.complete
      ? bytes(model.stored)
      : `${bytes(model.stored)} of ${model.bytes ? bytes(model.bytes) : "it"}`;
    const go = button(model.complete ? "Load" : "Go on", { "aria-label": `Load ${name}` }, () => load(source, name));
    const remove = button(
      "Remove",
      { class: "quiet", "aria-label": `Remove ${name}`, "data-testid": "remove-stored" },
      () => {
        void app.run("filing", async () => {
          await WebReft.models.remove(model.id);
          await refresh();
          title.tabIndex = -1;
          title.focus();
        });
      },
    );
    return h(
      "li",
      {},
      h("div", {}, h("strong", {}, name), h("span", { class: "hint" }, ` ${size}`)),
      h("span", { class: "row" }, go, remove),
    );
  };
  return { element, refresh };
}

/** What the browser leaves for more, and whether that is enough for what is stored in part. */
async function roomLeft(): Promise<string> {
  const { free, needed } = await WebReft.models.room();
  const left = `The browser leaves ${bytes(free)} for more.`;
  if (needed === 0) return left;
  const advice = needed > free ? " That is too little: remove a model." : "";
  return `${left} ${bytes(needed)} are missing of what is stored in part.${advice}`;
}
