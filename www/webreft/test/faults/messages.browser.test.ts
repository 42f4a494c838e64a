/** A worker that ends with any message of a journey: every call is settled with a typed error, and a new model works. */
import { expect, test, vi } from "vitest";
import { WebReft, WebReftError } from "webreft";
import { all, EXAMPLES, LOREFT, load, Q8 } from "../fixtures.js";

/** Loads, answers, trains and saves. */
async function journey(worker: Worker) {
  const model = await WebReft.load(Q8, { worker, backend: "cpu" });
  try {
    const pieces = await all(model.generate("four and", { maxTokens: 3 }));
    const reft = model.reft(LOREFT);
    const steps = await all(reft.train(EXAMPLES, { epochs: 3, seed: 5 }));
    return { pieces, losses: steps.map(({ loss }) => loss), file: await reft.save() };
  } finally {
    await model.dispose();
  }
}

/** A worker that ends instead of getting its k-th message, and what is left of k. */
function endingAt(k: number) {
  const worker = new Worker(new URL("../workers/plain.ts", import.meta.url), { type: "module" });
  const post = worker.postMessage.bind(worker);
  const count = { left: k };
  worker.postMessage = (message: unknown) => {
    count.left -= 1;
    if (count.left === 0) worker.terminate();
    post(message);
  };
  return { worker, count };
}

test("a worker that ends with any message leaves no call waiting", async () => {
  const whole = await journey(endingAt(0).worker);
  let points = 0;
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    for (let k = 1; ; k++) {
      const { worker, count } = endingAt(k);
      let settled = false;
      const ended = journey(worker).then(
        (outcome) => expect(outcome).toEqual(whole),
        (error) => {
          expect(error, `message ${k}`).toBeInstanceOf(WebReftError);
          expect(error, `message ${k}: ${error.message}`).toMatchObject({ kind: "device", retryable: true });
        },
      );
      void ended.finally(() => {
        settled = true;
      });
      while (!settled) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (count.left <= 0) await vi.advanceTimersByTimeAsync(5_000);
      }
      await ended;
      if (count.left > 0) break;
      points += 1;
    }
  } finally {
    vi.useRealTimers();
  }
  console.log(`a worker ended with each of ${points} messages`);
  expect(points).toBeGreaterThan(10);
  expect(await (await load()).complete("one", { maxTokens: 2 })).toBeTypeOf("string");
}, 600_000);
