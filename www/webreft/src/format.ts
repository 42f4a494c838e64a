/** Whether bytes can be the model's file that they should be: a server may send a web page, and call it a success. */
import { WebReftError } from "./error.js";
import type { Sink } from "./sink.js";

/** Bytes of a file's start, or of its end, that tell. */
const EDGE = 64;

/** An answer that is no file of the model. It is not kept. A page that asks to sign in to a network passes: the call can be made again. */
export class WrongFile extends WebReftError {
  constructor(url: string, expected: string, got: string) {
    super("file", `${url}: expected ${expected}, got ${got}; nothing of it was kept, load again`, { retryable: true });
  }
}

/** A kind of file: what its first bytes must be, and its last. */
interface Format {
  name: string;
  begins(start: Uint8Array, text: string): boolean;
  ends(text: string): boolean;
}

const GGUF: Format = { name: "a GGUF file", begins: (_, text) => text.startsWith("GGUF"), ends: () => true };

/** By the end of a file's name; all others are GGUF. */
const FORMATS: { [extension: string]: Format } = {
  // The header's length, whose upper half is zero, and the header.
  safetensors: {
    name: "a safetensors file",
    begins: (start) => start[8] === 0x7b && start.subarray(4, 8).every((byte) => byte === 0),
    ends: () => true,
  },
  json: { name: "JSON", begins: (_, text) => /^[{[]/.test(text.trimStart()), ends: (text) => /[}\]]\s*$/.test(text) },
  jinja: { name: "a chat template", begins: (_, text) => !isPage(text), ends: () => true },
};

/** Bytes after which {@link checkStart} can tell. */
export const START = 16;

/**
 * Checks the first bytes of a file.
 *
 * @throws {WrongFile} where they are not those of the kind that its name says.
 */
export function checkStart({ name, url }: { name: string; url: string }, bytes: Uint8Array): void {
  const format = formatOf(name);
  const start = bytes.subarray(0, EDGE);
  const text = new TextDecoder().decode(start);
  if (!format.begins(start, text)) throw new WrongFile(url, format.name, isPage(text) ? "a web page" : quoted(text));
}

/**
 * Checks both ends of a file that has been written.
 *
 * @throws {WrongFile} where they are not those of the kind that its name says; nothing is left of it.
 */
export function checkWhole(file: { name: string; url: string }, sink: Sink): void {
  const edge = new Uint8Array(EDGE);
  const size = sink.getSize();
  const read = (at: number) => edge.slice(0, size === 0 ? 0 : sink.read(edge, { at }));
  try {
    checkStart(file, read(0));
    const end = new TextDecoder().decode(read(Math.max(size - EDGE, 0)));
    const format = formatOf(file.name);
    if (!format.ends(end)) throw new WrongFile(file.url, format.name, `what ends with ${quoted(end.slice(-16))}`);
  } catch (error) {
    if (error instanceof WrongFile) sink.truncate(0);
    throw error;
  }
}

function formatOf(name: string): Format {
  return FORMATS[name.slice(name.lastIndexOf(".") + 1)] ?? GGUF;
}

function isPage(text: string): boolean {
  return /^\s*<(!doctype|html)/i.test(text);
}

function quoted(text: string): string {
  return text === "" ? "nothing" : JSON.stringify(text.slice(0, 16));
}
