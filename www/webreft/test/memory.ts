/** A file in memory in place of one on disk. */
import type { Sink } from "../src/sink.js";

export function memory(bytes = new Uint8Array()): Sink & { bytes(): Uint8Array } {
  let held = bytes;
  return {
    bytes: () => held,
    getSize: () => held.length,
    read: (into, { at }) => {
      const piece = held.subarray(at, at + into.length);
      into.set(piece);
      return piece.length;
    },
    write: (piece, { at }) => {
      const grown = new Uint8Array(Math.max(held.length, at + piece.length));
      grown.set(held);
      grown.set(piece, at);
      held = grown;
      return piece.length;
    },
    truncate: (size) => {
      held = held.slice(0, size);
    },
    flush: () => {},
    close: () => {},
  };
}
