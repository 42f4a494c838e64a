/** Training examples out of files: one reader, the engine's. */
import { expect, test } from "vitest";
import { parseExamples } from "webreft";
import { failure, LOREFT, shared } from "./fixtures.js";

test("examples are read from texts and files, and train", async () => {
  const want = [
    { prompt: "one", completion: "un" },
    { prompt: "two", completion: "deux" },
    { prompt: "", completion: "only an answer" },
  ];
  const cells = "prompt\tcompletion\none\tun\r\ntwo\tdeux\n\n\tonly an answer\n";
  for (const source of [cells, new File([`\ufeff${cells}`], "cells.tsv"), JSON.stringify(want)]) {
    expect(await parseExamples(source)).toEqual({ examples: want, classes: [], warnings: [] });
  }
  const { examples, warnings } = await parseExamples('{"instruction": "Count.", "output": "un", "id": 7}');
  expect(warnings).toEqual(["fields that are not read: `id`"]);
  const reft = (await shared()).reft(LOREFT);
  for await (const { loss } of reft.train(examples, { epochs: 1 })) expect(loss).toBeGreaterThan(0);
});

test("what is wrong with a file is told line by line", async () => {
  const text =
    '{"prompt": "one", "completion": "un"}\n{"prompt": "two", "completions": "deux"}\n{"text": "a", "label": -1}';
  const error = await failure(parseExamples(text));
  expect(error).toMatchObject({ kind: "input" });
  expect(error.message.split("\n")).toEqual([
    "line 2: `completions`: did you mean `completion`?",
    "line 3: `label`: expected a class as a whole number from 0 or as a name, found -1",
  ]);
  expect(await failure(parseExamples(new Blob(["PAR1"])))).toMatchObject({ kind: "file" });
  const reft = (await shared()).reft(LOREFT);
  const typo = [{ prompt: "one", completions: "un" }] as never;
  const wrong = await failure(reft.trainStep(typo));
  expect(wrong.message).toBe("example 1: `completions`: did you mean `completion`?");
  const extra = [{ prompt: "one", completion: "un", id: 7 }] as never;
  expect((await failure(reft.trainStep(extra))).message).toBe("example 1: `id` is not a field of this example");
});

test("classes keep their names in a saved file", async () => {
  const model = await shared();
  const { examples, classes } = await parseExamples("text,label\nthe cat,good\na dog ran,bad\n");
  expect(classes).toEqual(["bad", "good"]);
  const reft = model.reft(LOREFT, { classes });
  for await (const { step } of reft.train(examples, { epochs: 30, learningRate: 1e-2 }))
    expect(step).toBeGreaterThan(0);
  const again = await model.loadReft(await reft.save());
  expect([reft.classes, again.classes]).toEqual([classes, classes]);
  const [[bad, good] = []] = await again.scores(["the cat"]);
  expect(good).toBeGreaterThan(bad ?? Number.NaN);
  const nameless = model.reft(LOREFT, { outputs: 2 });
  expect((await failure(nameless.trainStep(examples))).message).toContain(
    'label "good": the head\'s classes have no names',
  );
});
