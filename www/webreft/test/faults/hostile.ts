/** Values that no call expects, by name. Each is made anew for each call. */

/** A proxy whose every handler throws. */
function throwingProxy(): object {
  const handlers = new Proxy({}, { get: () => () => raise() });
  return new Proxy({}, handlers);
}

function raise(): never {
  throw new RangeError("a trap of the test");
}

function revoked(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function detached(): ArrayBuffer {
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
}

function detachedView(): Uint8Array {
  const view = new Uint8Array(8);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}

/** Memory that threads share, also where a page has no `SharedArrayBuffer`. */
function shared(): SharedArrayBuffer {
  return new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer as unknown as SharedArrayBuffer;
}

function cyclicObject(): object {
  const it: Record<string, unknown> = {};
  it.it = it;
  return it;
}

function cyclicList(): unknown[] {
  const it: unknown[] = [];
  it.push(it);
  return it;
}

function deep(): unknown {
  let it: unknown[] = [];
  for (let i = 0; i < 10_000; i++) it = [it];
  return it;
}

/** Thirty lists that hold the next one twice: a billion values for one that copies them. */
function wide(): unknown {
  let it: unknown = 0;
  for (let i = 0; i < 30; i++) it = [it, it];
  return it;
}

function fromAnotherWindow(): Window {
  const frame = document.createElement("iframe");
  document.body.append(frame);
  const { contentWindow } = frame;
  frame.remove();
  return contentWindow as Window;
}

const HUGE = "x".repeat(200_000_000);

export const HOSTILE: Record<string, () => unknown> = {
  null: () => null,
  "a function": () => () => {},
  "an async function": () => async () => {},
  "a class": () => class {},
  "a symbol": () => Symbol("s"),
  "a BigInt": () => 1n,
  "a cyclic object": cyclicObject,
  "a cyclic list": cyclicList,
  "a deep list": deep,
  "a list of a billion values": wide,
  "an element": () => document.createElement("input"),
  "the window": () => window,
  "the window of a frame that is gone": fromAnotherWindow,
  "a proxy that throws": throwingProxy,
  "a revoked proxy": () => revoked({}),
  "a revoked list": () => revoked([]),
  "a proxy of a signal": () => new Proxy(new AbortController().signal, {}),
  "a getter that throws": () => Object.defineProperty({}, "kind", { enumerable: true, get: raise }),
  "a toJSON that throws": () => ({ toJSON: raise }),
  "a toString that throws": () => ({ toString: raise }),
  "a Date": () => new Date(0),
  "a Map": () => new Map([["kind", "loreft"]]),
  "a Promise": () => Promise.resolve({}),
  "an Error": () => new Error("e"),
  "a RegExp": () => /x/,
  "an instance of a class": () => new (class Options {})(),
  "a detached buffer": detached,
  "a detached view": detachedView,
  "a shared buffer": shared,
  "a shared view": () => new Uint8Array(shared()),
  "a list of floats": () => new Float32Array(4),
  "a list of BigInts": () => new BigInt64Array(4),
  "a DataView": () => new DataView(new ArrayBuffer(8)),
  "a port": () => new MessageChannel().port1,
  "a controller": () => new AbortController(),
  "what looks like a signal": () => ({ aborted: false, addEventListener() {}, removeEventListener() {} }),
  "a signal's prototype": () => Object.create(AbortSignal.prototype),
  "a text of 200 MB": () => HUGE,
  "half a character": () => "\ud800",
  "a boxed text": () => new String("x"),
  "a boxed number": () => new Number(1),
  true: () => true,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  "-Infinity": () => Number.NEGATIVE_INFINITY,
  "1e300": () => 1e300,
  "-1": () => -1,
  "0.5": () => 0.5,
  "2^24": () => 2 ** 24,
  "2^32 - 1": () => 2 ** 32 - 1,
  "2^32": () => 2 ** 32,
  "2^53": () => 2 ** 53,
  nonsense: () => "nonsense",
  "a number as text": () => "5",
  "an unknown field": () => ({ nonsense: 1 }),
  "a list with null": () => [null],
  "a list with nothing": () => [undefined],
  "a list with a function": () => [() => {}],
  "a list of NaN": () => [Number.NaN],
  "the longest list": () => new Array(2 ** 32 - 1),
};
