/**
 * Checks of values that a caller gives. A check returns a copy that holds nothing foreign, so what crosses to the worker can be cloned,
 * and a getter runs once.
 */
import { WebReftError } from "./error.js";

/** Returns a value as what it should be, or throws `input` with the value's place. */
export type Check<T> = (value: unknown, at: Place) => T;

/** A check of a field that cannot be left out. */
export type Needed<T> = Check<T> & { needed: true };

/** A check for each field of a type; a field without one does not compile. */
export type Checks<T> = {
  [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? Check<Exclude<T[K], undefined>> : Needed<T[K]>;
};

/** Characters that an argument may hold in all, where each value counts as 16; bytes of a file that goes to the engine whole. */
const MOST = { options: 2 ** 20, texts: 2 ** 26, bytes: 2 ** 29 };
/** Deeper than any tool's schema; Rust's reader ends at 128. */
const DEEPEST = 64;
const EACH = 16;
/** The largest whole number that the engine counts with: it has 32 bits. */
const MAX_COUNT = 2 ** 32 - 1;

/** Where a value is in an argument, and how much more the argument may hold. */
export class Place {
  readonly #path: string;
  readonly #room: { left: number; longest: number };
  readonly #depth: number;

  constructor(path: string, room: { left: number; longest: number }, depth = 0) {
    this.#path = path;
    this.#room = room;
    this.#depth = depth;
  }

  field(name: string): Place {
    return this.#within(`${this.#path}.${name}`);
  }

  item(index: number): Place {
    return this.#within(`${this.#path}[${index}]`);
  }

  #within(path: string): Place {
    if (this.#depth === DEEPEST) throw this.error(`expected values at most ${DEEPEST} deep; this one may hold itself`);
    return new Place(path, this.#room, this.#depth + 1);
  }

  /** Counts the characters of a text. */
  takeText(characters: number): void {
    const { longest } = this.#room;
    if (characters > longest) throw this.error(`expected at most ${longest} characters, got ${characters}`);
    this.take(characters);
  }

  /** Refuses a file that is too large to go to the engine whole. */
  takeBytes(bytes: number): void {
    if (bytes > MOST.bytes) throw this.error(`expected at most ${MOST.bytes} bytes, got ${bytes}`);
  }

  /** Counts what the argument holds. */
  take(characters = EACH): void {
    this.#room.left -= characters;
    if (this.#room.left < 0) throw this.error("expected fewer values, or shorter texts; the argument is too large");
  }

  /** Runs what may run the caller's code: a getter, or a proxy's handler. */
  read<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      throw this.error(`reading it threw ${textOf(cause)}`, cause);
    }
  }

  wrong(expected: string, value: unknown): WebReftError {
    return this.error(`expected ${expected}, got ${described(value)}`);
  }

  error(message: string, cause?: unknown): WebReftError {
    return new WebReftError("input", `${this.#path}: ${message}`, cause === undefined ? {} : { cause });
  }
}

/** Checks an argument of options, numbers or names. */
export function check<T>(name: string, value: unknown, by: Check<T>): T {
  return by(value, new Place(name, { left: MOST.options, longest: MOST.options }));
}

/** Checks a text or a conversation, which has at most so many characters in all. */
export function checkText<T>(name: string, value: unknown, by: Check<T>, most: number): T {
  return by(value, new Place(name, { left: most, longest: most }));
}

/** Checks an argument of texts, of which none has more than `longest` characters. */
export function checkTexts<T>(name: string, value: unknown, by: Check<T>, longest = MOST.texts): T {
  return by(value, new Place(name, { left: MOST.texts, longest }));
}

/** A text by whatever type of texts; the engine knows which ones there are. */
export const text = textAs("a text");

/** A text, where a message calls it something else. */
export function textAs(expected: string): <T extends string>(value: unknown, at: Place) => T {
  return <T extends string>(value: unknown, at: Place) => {
    if (typeof value !== "string") throw at.wrong(expected, value);
    at.takeText(value.length);
    const broken = value.search(/\p{Surrogate}/u);
    if (broken >= 0) throw at.error(`expected a text of whole characters, got half of one at ${broken}`);
    return value as T;
  };
}

export const flag: Check<boolean> = (value, at) => {
  if (typeof value !== "boolean") throw at.wrong("true or false", value);
  return value;
};

/** A number that is one in 32 bits, too. */
export const number: Check<number> = (value, at) => {
  if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) throw at.wrong("a finite number", value);
  return value;
};

export const notNegative: Check<number> = (value, at) => {
  if (number(value, at) < 0) throw at.wrong("a number from 0", value);
  return value as number;
};

function whole(least: number, most: number): Check<number> {
  return (value, at) => {
    if (Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most) return Number(value);
    throw at.wrong(`a whole number from ${least} to ${most}`, value);
  };
}

export const count = whole(0, MAX_COUNT);
export const countFromOne = whole(1, MAX_COUNT);
export const seed = whole(0, Number.MAX_SAFE_INTEGER);

/** Values of one kind. */
export function list<T>(item: Check<T>, expected = "a list"): Check<T[]> {
  return (value, at) => {
    if (!at.read(() => Array.isArray(value))) throw at.wrong(expected, value);
    const items = value as unknown[];
    const length = at.read(() => items.length);
    const copy: T[] = [];
    for (let i = 0; i < length; i++) {
      const place = at.item(i);
      place.take();
      const value = place.read(() => items[i]);
      copy.push(item(value, place));
    }
    return copy;
  };
}

/** One value or a list of them. */
export function oneOrMore<T>(item: Check<T>): Check<T | T[]> {
  return listOr(item, item);
}

/** A list, or something else. */
export function listOr<Item, Other>(item: Check<Item>, other: Check<Other>): Check<Item[] | Other> {
  const items = list(item);
  return (value, at) => (at.read(() => Array.isArray(value)) ? items : other)(value, at);
}

/** An object whose fields are known. */
export function object<T>(checks: Checks<T>, expected = "an object"): Check<T> {
  const known: Record<string, Check<unknown>> = checks;
  return (value, at) => {
    const given = new Map(entriesOf(value, at, expected));
    for (const name of given.keys()) {
      if (Object.hasOwn(known, name)) continue;
      throw at.error(`unknown field ${JSON.stringify(name)}; known are ${Object.keys(known).join(", ")}`);
    }
    const copy = Object.entries(known).flatMap(([name, one]) => {
      const field = given.get(name);
      return field === undefined && !("needed" in one) ? [] : [[name, one(field, at.field(name))]];
    });
    return Object.fromEntries(copy) as T;
  };
}

/** Marks a field that cannot be left out. */
export function needed<T>(check: Check<T>): Needed<T> {
  return Object.assign((value: unknown, at: Place) => check(value, at), { needed: true as const });
}

/** What JSON holds, whatever it says. */
export const data: Check<unknown> = (value, at) => {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return text(value, at);
  if (typeof value === "number") return finite(value, at);
  if (at.read(() => Array.isArray(value))) return list(data)(value, at);
  return record(value, at);
};

const finite: Check<number> = (value, at) => {
  if (!Number.isFinite(value)) throw at.wrong("a finite number", value);
  return value as number;
};

/** An object of plain data. */
export const record: Check<Record<string, unknown>> = (value, at) =>
  Object.fromEntries(
    entriesOf(value, at, "plain data")
      .filter(([, field]) => field !== undefined)
      .map(([name, field]) => [name, data(field, at.field(name))]),
  );

/** The fields of an object that is made by `{}` or alike, in whatever window. Each is read once. */
function entriesOf(value: unknown, at: Place, expected: string): [string, unknown][] {
  if (typeof value !== "object" || value === null) throw at.wrong(expected, value);
  const prototype = at.read(() => Object.getPrototypeOf(value));
  if (prototype !== null && at.read(() => Object.getPrototypeOf(prototype)) !== null) throw at.wrong(expected, value);
  return at
    .read(() => Object.keys(value))
    .map((name) => {
      at.take(EACH + name.length);
      return [name, at.field(name).read(() => (value as Record<string, unknown>)[name])];
    });
}

/** A function, which is called later. */
export const callback = <T extends (told: never) => void>(value: unknown, at: Place): T => {
  if (typeof value !== "function") throw at.wrong("a function", value);
  return value as T;
};

/** The platform's classes that are known by a getter of theirs, which throws for what only looks like one. */
const GETTERS = { AbortSignal: "aborted", Blob: "size", URL: "href", Worker: "onmessage", ArrayBuffer: "byteLength" };

/** Whether a value is one of the platform's own, in whatever window. */
export function isPlatform(name: keyof typeof GETTERS, value: unknown): boolean {
  const own = (globalThis as Record<string, unknown>)[name] as { prototype: object } | undefined;
  try {
    Object.getOwnPropertyDescriptor(own?.prototype, GETTERS[name])?.get?.call(value);
    return own !== undefined;
  } catch {
    return false;
  }
}

function platform<T>(name: keyof typeof GETTERS): Check<T> {
  return (value, at) => {
    if (!isPlatform(name, value)) throw at.wrong(`${name === "AbortSignal" ? "an" : "a"} ${name}`, value);
    return value as T;
  };
}

export const signal = platform<AbortSignal>("AbortSignal");
export const worker = platform<Worker>("Worker");

/** Bytes that can be copied: they are neither shared with other threads nor transferred. Returns a view of them. */
export const view: Check<Uint8Array<ArrayBuffer>> = (value, at) => {
  if (!isBytes(value)) throw at.wrong("a Uint8Array or an ArrayBuffer that is not shared", value);
  try {
    return ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value);
  } catch (cause) {
    throw at.error("expected bytes, got a buffer that was transferred", cause);
  }
};

/** A file's bytes that go to the engine whole. Only these cross, where they are a part of a larger buffer. */
export const bytes: Check<Uint8Array<ArrayBuffer>> = (value, at) => {
  const seen = view(value, at);
  at.takeBytes(seen.length);
  return seen.length === seen.buffer.byteLength ? seen : seen.slice();
};

export function isBytes(value: unknown): value is ArrayBuffer | Uint8Array<ArrayBuffer> {
  const buffer = ArrayBuffer.isView(value) ? value.buffer : value;
  return isPlatform("ArrayBuffer", buffer) && (value === buffer || tagOf(value) === "Uint8Array");
}

function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** A value, for a message. */
function described(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "bigint") return "a BigInt";
  if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
  if (typeof value !== "object" || value === null) return String(value);
  try {
    if (Array.isArray(value)) return "a list";
    const tag = tagOf(value).replace(/^Object$/, "object");
    return `${/^[aeiou]/i.test(tag) ? "an" : "a"} ${tag.slice(0, 40)}`;
  } catch {
    return "an object that cannot be read";
  }
}

/** What was thrown, which may be anything. */
export function textOf(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return described(thrown);
  }
}
