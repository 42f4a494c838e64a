/**
 * What is said between a page and the worker that holds its engine.
 *
 * The page sends `Request`s, the worker answers each with any number of items and then one `done` or `error`, all
 * under the request's `id`. Where items are worth work (training steps, tokens), the worker makes one only when the page
 * has asked for it by `more`: a loop that is left or held leaves nothing running.
 */
import type { Adapter } from "../wasm/webreft.js";
import type { ErrorKind } from "./error.js";

/** Every call the worker answers: what it takes, what it streams on the way, what it returns. */
export interface Calls {
  probe: { takes: { wasm?: WasmSource }; streams: never; returns: Adapter };
}

export type Call = keyof Calls;

/** Where the wasm file is, if not beside the worker: its address, its bytes, or the compiled module. */
export type WasmSource = string | URL | BufferSource | WebAssembly.Module;

/** Page → worker. */
export type Request =
  | { [C in Call]: { id: number; call: C; takes: Calls[C]["takes"] } }[Call]
  | { id: number; call: "more" }
  | { id: number; call: "abort"; reason: string };

/** Worker → page. */
export type Reply<C extends Call = Call> =
  | { id: number; kind: "item"; item: Calls[C]["streams"] }
  | { id: number; kind: "done"; value: Calls[C]["returns"] }
  | { id: number; kind: "error"; error: { kind: ErrorKind; message: string } };

/** How a handler reports: `emit` returns when the next item is wanted, and rejects when the call was aborted. */
export interface Line<Item> {
  emit(item: Item): Promise<void>;
  signal: AbortSignal;
}

/** The worker's side. A call without a handler does not compile. */
export type Handlers = {
  [C in Call]: (takes: Calls[C]["takes"], line: Line<Calls[C]["streams"]>) => Promise<Calls[C]["returns"]>;
};
