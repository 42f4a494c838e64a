/** The worker's side of `protocol.ts`: it holds the engine, and all of its loops. */
import init, { probe } from "../wasm/webreft.js";
import { WebReftError } from "./error.js";
import type { Call, Calls, Handlers, Reply, Request } from "./protocol.js";

const handlers: Handlers = {
  async probe({ wasm }) {
    await start(wasm);
    return probe();
  },
};

async function start(wasm: Calls["probe"]["takes"]["wasm"]): Promise<void> {
  if (!navigator.gpu) throw new WebReftError("unsupported", "this browser has no WebGPU");
  await (wasm === undefined ? init() : init({ module_or_path: wasm }));
}

/** A call under way: how to end it, and how many items the page has asked for. */
interface Running {
  controller: AbortController;
  wanted: number;
  wake: () => void;
}

const running = new Map<number, Running>();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  const { id } = data;
  if (data.call === "more") {
    const call = running.get(id);
    if (call) {
      call.wanted += 1;
      call.wake();
    }
  } else if (data.call === "abort") {
    running.get(id)?.controller.abort(new WebReftError("aborted", `aborted: ${data.reason}`));
  } else {
    void answer(id, data.call, data.takes);
  }
};

async function answer<C extends Call>(id: number, call: C, takes: Calls[C]["takes"]): Promise<void> {
  const state: Running = { controller: new AbortController(), wanted: 0, wake: () => {} };
  const { signal } = state.controller;
  signal.addEventListener("abort", () => state.wake());
  running.set(id, state);
  const post = (reply: Reply<C>) => self.postMessage(reply);
  const emit = async (item: Calls[C]["streams"]) => {
    post({ id, kind: "item", item });
    while (state.wanted === 0 && !signal.aborted) await new Promise<void>((resolve) => (state.wake = resolve));
    signal.throwIfAborted();
    state.wanted -= 1;
  };
  try {
    post({ id, kind: "done", value: await handlers[call](takes, { emit, signal }) });
  } catch (error) {
    post({ id, kind: "error", error: describe(error) });
  } finally {
    running.delete(id);
  }
}

/** What was thrown, as it crosses. The engine throws `{ kind, message }`; anything else is a bug. */
function describe(error: unknown): { kind: WebReftError["kind"]; message: string } {
  if (error instanceof WebReftError) return { kind: error.kind, message: error.message };
  if (typeof error === "object" && error !== null && "kind" in error && "message" in error) {
    return error as { kind: WebReftError["kind"]; message: string };
  }
  return { kind: "bug", message: String(error) };
}
