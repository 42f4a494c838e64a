import { expect, test } from "vitest";
import { bytes, count, plural, seconds } from "../src/format.js";
import { PRESETS, QUESTIONS } from "../src/presets.js";
import { rowsOf, withHeader } from "../src/views/examples.js";

test("cells from a spreadsheet get a header where they have none", () => {
  const cells = "one\tun\r\ntwo\tdeux\n\n\tonly an answer\n";
  expect(withHeader(cells)).toBe(`prompt\tcompletion\n${cells}`);
  for (const text of [
    "Prompt\tCompletion\none\tun",
    "prompt,completion\none,un",
    '{"prompt": "a\tb"}',
    '[{"prompt":\t"a"}]',
  ]) {
    expect(withHeader(text)).toBe(text);
  }
});

test("only prompts with answers become rows", () => {
  const answer = { prompt: "one", completion: "un" };
  expect(rowsOf([answer])).toEqual([answer]);
  const conversation = { messages: [{ role: "assistant", content: "un" }] };
  expect(() => rowsOf([answer, conversation])).toThrow("example 2: the table holds a prompt and an answer, both texts");
});

test("every preset has ten examples, and no question to ask is among them", () => {
  for (const [style, examples] of PRESETS) {
    expect(examples, style).toHaveLength(10);
    for (const { prompt } of examples) expect(QUESTIONS).not.toContain(prompt);
  }
});

test("numbers read as people write them", () => {
  expect([bytes(999), bytes(5_330_560), bytes(1.2e9)]).toEqual(["999 B", "5.33 MB", "1.20 GB"]);
  expect([count(4_918_528), seconds(1.234), seconds(62.34)]).toEqual(["4.9 million", "1.23 s", "62.3 s"]);
  expect([plural(1, "step"), plural(1200, "step")]).toEqual(["1 step", "1,200 steps"]);
});
