/** Checks of arguments: what they return, and what a message says. */
import { expect, test } from "vitest";
import { type Checks, callback, check, checkTexts, count, data, list, needed, object, text } from "../src/checks.js";

interface Options {
  name: string;
  count?: number;
  onProgress?: (share: number) => void;
}

const options = object<Options>({ name: needed(text), count, onProgress: callback });

test("a field without a check does not compile", () => {
  // @ts-expect-error: `count` has no check
  const one: Checks<Options> = { name: needed(text), onProgress: callback };
  // @ts-expect-error: `name` cannot be left out
  const two: Checks<Options> = { name: text, count, onProgress: callback };
  // @ts-expect-error: `count` is no text
  const three: Checks<Options> = { name: needed(text), count: list(text), onProgress: callback };
  expect([one, two, three]).toHaveLength(3);
});

test("a value is copied field by field, and each getter runs once", () => {
  let reads = 0;
  const given = {
    get name() {
      reads += 1;
      return `name ${reads}`;
    },
    count: undefined,
  };
  const got = check("options", given, options);
  expect(got).toEqual({ name: "name 1" });
  expect(reads).toBe(1);
});

test.each<[unknown, string]>([
  [undefined, "options: expected an object, got nothing"],
  [null, "options: expected an object, got null"],
  [[], "options: expected an object, got a list"],
  [new Map(), "options: expected an object, got a Map"],
  [{}, "options.name: expected a text, got nothing"],
  [{ name: 1n }, "options.name: expected a text, got a BigInt"],
  [{ name: "\ud83d" }, "options.name: expected a text of whole characters, got half of one at 0"],
  [{ name: "x", count: "7" }, 'options.count: expected a whole number from 0 to 4294967295, got "7"'],
  [{ name: "x", onProgress: "log" }, 'options.onProgress: expected a function, got "log"'],
  [{ name: "x", counts: 7 }, 'options: unknown field "counts"; known are name, count, onProgress'],
])("%o is refused by its place", (value, message) => {
  expect(() => check("options", value, options)).toThrow(expect.objectContaining({ kind: "input", message }));
});

test("what a getter throws is the error's cause", () => {
  const cause = new Error("no");
  const given = {
    get name(): string {
      throw cause;
    },
  };
  expect(() => check("options", given, options)).toThrow(
    expect.objectContaining({ kind: "input", message: "options.name: reading it threw Error: no", cause }),
  );
});

test("plain data keeps its values, and its fields whatever they are called", () => {
  const given = JSON.parse('{"a": [1.5, null, true, {"b": "ü"}], "__proto__": {"c": 1}, "toString": 2}');
  expect(JSON.stringify(check("data", { ...given, left: undefined }, data))).toBe(JSON.stringify(given));
  expect(() => check("data", { a: [undefined] }, data)).toThrow("data.a[0]: expected plain data, got nothing");
  expect(() => check("data", [new Date()], data)).toThrow("data[0]: expected plain data, got a Date");
});

test("an argument is bounded in its depth, its values, and its texts", () => {
  const cycle: unknown[] = [];
  cycle.push([cycle]);
  expect(() => check("data", cycle, data)).toThrow("expected values at most 64 deep; this one may hold itself");
  let wide: unknown = 0;
  for (let i = 0; i < 40; i++) wide = [wide, wide];
  expect(() => check("data", wide, data)).toThrow("the argument is too large");
  expect(() => checkTexts("texts", ["12345", "123456"], list(text), 5)).toThrow(
    "texts[1]: expected at most 5 characters, got 6",
  );
});
