/** Makes the k-th call of the browser's storage or of `fetch` fail in this worker, and counts the calls. */

/** How a call fails: with an error, for want of room, or, a write, by storing less or telling a negative count as Chromium does. */
export type Mode = "error" | "quota" | "short" | "negative";

/** The failing call; each call is counted from 1. */
export interface Fault {
  k: number;
  mode: Mode;
}

let fault: Fault | undefined;
/** The modes that each call so far has. */
let calls: (readonly Mode[])[] = [];
/** The call that failed. */
let failed: string | undefined;

/** Counts calls from now on, and fails the k-th. None is the 0th. */
export function arm(next: Fault): void {
  fault = next;
  calls = [];
  failed = undefined;
}

/** Fails none any more. Tells which call has failed, where there were enough, and the modes that each call has. */
export function disarm(): { failed: string | undefined; calls: (readonly Mode[])[] } {
  fault = undefined;
  return { failed, calls };
}

/** What the next call has to do. A mode that it does not have is no failure of it. */
function due(name: string, modes: readonly Mode[]): Mode | undefined {
  if (!fault) return undefined;
  calls.push(modes);
  if (calls.length !== fault.k || !modes.includes(fault.mode)) return undefined;
  failed = name;
  return fault.mode;
}

function injected(mode: Mode): DOMException {
  return new DOMException("injected", mode === "quota" ? "QuotaExceededError" : "UnknownError");
}

// biome-ignore lint/suspicious/noExplicitAny: methods of any kind are replaced
type Methods = any;

function failing(prototype: Methods, name: string, isSync: boolean, modes: readonly Mode[] = ["error", "quota"]): void {
  const real = prototype[name];
  prototype[name] = function (...args: unknown[]) {
    const mode = due(name, modes);
    if (!mode) return real.apply(this, args);
    if (isSync) throw injected(mode);
    return Promise.reject(injected(mode));
  };
}

failing(StorageManager.prototype, "getDirectory", false, ["error"]);
failing(StorageManager.prototype, "estimate", false, ["error"]);
for (const name of ["getFileHandle", "getDirectoryHandle", "removeEntry"]) {
  failing(FileSystemDirectoryHandle.prototype, name, false);
}
failing(FileSystemDirectoryHandle.prototype, "keys", true, ["error"]);
for (const name of ["createSyncAccessHandle", "createWritable", "getFile"]) {
  failing(FileSystemFileHandle.prototype, name, false);
}
failing(Blob.prototype, "arrayBuffer", false, ["error"]);
for (const name of ["write", "close", "abort"]) failing(FileSystemWritableFileStream.prototype, name, false);

const Handle = (self as Methods).FileSystemSyncAccessHandle.prototype;
for (const name of ["getSize", "read", "truncate", "flush"]) failing(Handle, name, true);

const { write, close } = Handle;
Handle.write = function (bytes: Uint8Array, options: { at: number }) {
  const mode = due("write in place", ["error", "quota", "short", "negative"]);
  if (mode === "negative") return 2 ** 32 - 4;
  if (mode === "short") return write.call(this, bytes.subarray(0, bytes.length / 2), options);
  if (mode) throw injected(mode);
  return write.call(this, bytes, options);
};
Handle.close = function () {
  close.call(this); // a handle that stayed open would be in the way of all that follows
  const mode = due("close", ["error", "quota"]);
  if (mode) throw injected(mode);
};

const { fetch } = self;
self.fetch = (...args) => {
  const mode = due("fetch", ["error", "short", "quota"]);
  if (mode === "error") return Promise.reject(new TypeError("Failed to fetch"));
  if (mode === "quota") return new Promise(() => {}); // it never answers
  if (mode === "short") return fetch(...args).then(cut);
  return fetch(...args);
};

/** The same answer, of which half comes and then an error. */
async function cut(response: Response): Promise<Response> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(bytes.subarray(0, bytes.length / 2));
    },
    pull(controller) {
      controller.error(new TypeError("network error"));
    },
  });
  const { status, statusText, headers } = response;
  return new Response(response.body === null ? null : body, { status, statusText, headers });
}

/** What is waited for seconds comes in milliseconds: of a server that never answers nothing is expected here. */
const { setTimeout } = self;
self.setTimeout = ((work: () => void, ms = 0) => setTimeout(work, ms / 50)) as typeof self.setTimeout;
