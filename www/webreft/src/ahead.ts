/** Reads ahead of whoever reads a file from the front to the back, so that disk and network work while the engine does. */
import type { Reader } from "../wasm/webreft.js";

/** Bytes that are read at a time. While one window is used, the next one is read. */
const WINDOW = 8 << 20;

export function readAhead(file: Reader): Reader {
  const windows = new Map<number, Promise<Uint8Array<ArrayBuffer>>>();

  function window(number: number): Promise<Uint8Array<ArrayBuffer>> {
    const known = windows.get(number);
    if (known) return known;
    const start = number * WINDOW;
    const bytes = file.read(start, Math.min(WINDOW, file.length - start));
    bytes.catch(() => windows.delete(number)); // told to whoever reads it, and tried again by the next
    windows.set(number, bytes);
    return bytes;
  }

  return {
    name: file.name,
    length: file.length,
    async read(offset, length) {
      if (length === 0 || offset + length > file.length) return file.read(offset, length);
      const [first, last] = [offset, offset + length - 1].map((at) => Math.floor(at / WINDOW)) as [number, number];
      for (const number of windows.keys()) if (number < first || number > last + 1) windows.delete(number);
      const wanted = Array.from({ length: last - first + 1 }, (_, i) => window(first + i));
      if ((last + 1) * WINDOW < file.length) window(last + 1);
      return cut(await Promise.all(wanted), offset - first * WINDOW, length);
    },
  };
}

/** Some bytes of consecutive windows. */
function cut(windows: Uint8Array<ArrayBuffer>[], offset: number, length: number): Uint8Array<ArrayBuffer> {
  const [only, more] = windows;
  if (only && !more) return only.subarray(offset, offset + length);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const window of windows) {
    const part = window.subarray(at === 0 ? offset : 0).subarray(0, length - at);
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
