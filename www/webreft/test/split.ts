/** A GGUF file in two parts, as llama.cpp's `gguf-split` makes them: all metadata in the first, each with its own tensors. */

const ALIGNMENT = 32;
/** Bytes of each of GGUF's scalar types, by number; 8 is a text, 9 a list. */
const SCALARS = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const TEXT = 8;
const LIST = 9;

interface Tensor {
  /** Name, dimensions and type, as they stand in the header. */
  description: Uint8Array;
  values: Uint8Array;
}

/** Splits a file with as many tensors in the first part as in the second. */
export function split(file: Uint8Array): [Uint8Array, Uint8Array] {
  const { count, metadata, tensors } = parse(file);
  const half = Math.ceil(tensors.length / 2);
  const part = (no: number, count: number, metadata: Uint8Array, mine: Tensor[]) =>
    write(
      count + 3,
      [
        metadata,
        number("split.no", 2, no, 2),
        number("split.count", 2, 2, 2),
        number("split.tensors.count", 5, tensors.length, 4),
      ],
      mine,
    );
  return [part(0, count, metadata, tensors.slice(0, half)), part(1, 0, new Uint8Array(), tensors.slice(half))];
}

function parse(file: Uint8Array): { count: number; metadata: Uint8Array; tensors: Tensor[] } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 8;
  const long = () => {
    at += 8;
    return Number(view.getBigUint64(at - 8, true));
  };
  const word = () => {
    at += 4;
    return view.getUint32(at - 4, true);
  };
  const skip = (type: number): void => {
    if (type === TEXT) {
      const length = long();
      at += length;
    } else if (type === LIST) {
      const item = word();
      for (let left = long(); left > 0; left--) skip(item);
    } else {
      at += SCALARS[type] ?? Number.NaN;
    }
  };
  const tensorCount = long();
  const count = long();
  const start = at;
  for (let i = 0; i < count; i++) {
    skip(TEXT);
    skip(word());
  }
  const metadata = file.subarray(start, at);
  const found = Array.from({ length: tensorCount }, () => {
    const from = at;
    skip(TEXT);
    const dims = word();
    at += 8 * dims + 4;
    return { description: file.subarray(from, at), offset: long() };
  });
  const data = Math.ceil(at / ALIGNMENT) * ALIGNMENT;
  const ends = [...found.map(({ offset }) => offset), file.length - data].sort((a, b) => a - b);
  const tensors = found.map(({ description, offset }) => {
    const end = ends.find((end) => end > offset) ?? offset;
    return { description, values: file.subarray(data + offset, data + end) };
  });
  return { count, metadata, tensors };
}

function write(count: number, metadata: Uint8Array[], tensors: Tensor[]): Uint8Array {
  const header = [
    new TextEncoder().encode("GGUF"),
    bytes(3, 4),
    bytes(tensors.length, 8),
    bytes(count, 8),
    ...metadata,
  ];
  let offset = 0;
  for (const { description, values } of tensors) {
    header.push(description, bytes(offset, 8));
    offset += Math.ceil(values.length / ALIGNMENT) * ALIGNMENT;
  }
  const start = join(header);
  return join([start, padding(start.length), ...tensors.flatMap(({ values }) => [values, padding(values.length)])]);
}

function number(key: string, type: number, value: number, size: number): Uint8Array {
  return join([bytes(key.length, 8), new TextEncoder().encode(key), bytes(type, 4), bytes(value, size)]);
}

function bytes(value: number, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 255);
}

function padding(length: number): Uint8Array {
  return new Uint8Array((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}

function join(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
