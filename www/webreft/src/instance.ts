/** The wasm instance of this worker: started once, and made anew after it trapped. */
import init, { __wbg_reset_state, type InitOutput } from "../wasm/webreft.js";
import { WebReftError } from "./error.js";
import type { WasmSource } from "./protocol.js";

let exports: InitOutput | undefined;
let source: WasmSource | undefined;

/**
 * Starts the engine, if it does not run yet.
 *
 * @throws {WebReftError} `file`, retryable, where the wasm file cannot be fetched or is none, `unsupported` where the page forbids WebAssembly.
 */
export async function start(where: WasmSource | undefined): Promise<void> {
  source = where;
  try {
    exports = await init({ module_or_path: where });
  } catch (error) {
    throw unstarted(where, error);
  }
}

/** Bytes of the wasm heap. */
export function heapBytes(): number {
  return exports?.memory.buffer.byteLength ?? 0;
}

/** Whether an error is a trap: the instance that threw it can no longer be used. */
export function isTrap(error: unknown): error is Error {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}

/** Throws the instance away with all of its memory, and makes a new one. Objects of the old one must not be used any more. */
export async function restart(): Promise<void> {
  if (!exports) return;
  __wbg_reset_state();
  await start(source);
}

function unstarted(where: WasmSource | undefined, error: unknown): WebReftError {
  const what = typeof where === "string" ? `the wasm file ${where}` : "the wasm file beside the webreft worker";
  if (/unsafe-eval|disallowed by embedder|Content Security Policy/i.test(String(error))) {
    const advice = "allow 'wasm-unsafe-eval' in script-src of the page's Content-Security-Policy";
    return new WebReftError("unsupported", `${what}: this page forbids WebAssembly: ${error}; ${advice}`, {
      cause: error,
    });
  }
  const advice = "serve webreft_bg.wasm there, or give its address as `wasm`";
  return new WebReftError("file", `${what} cannot be started: ${error}; ${advice}`, { cause: error, retryable: true });
}
