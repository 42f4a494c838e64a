/** When a lost machine is opened again, when it is given up, and what interventions get back: with an engine that only counts. */
import { beforeEach, expect, test, vi } from "vitest";
import { WebReftError } from "../src/error.js";
import type { ModelInfo, Recovery } from "../src/protocol.js";
import { type Open, Session } from "../src/session.js";
import type { WebEngine } from "../wasm/webreft.js";

const { signal } = new AbortController();

/** An engine on a machine that can be lost, with interventions that are numbers. */
class Machine {
  state: "sound" | "lost" | "full" = "sound";
  isFreed = false;
  readonly values: number[] = [];

  constructor(readonly backend: string | undefined) {}

  isBroken = () => this.state !== "sound";
  isLost = () => this.state === "lost";
  free = () => {
    this.isFreed = true;
  };
  make = (value: number) => this.values.push(value) - 1;
  snapshot = async (number: number) => {
    this.check();
    return new Uint8Array([this.values[number] ?? 0]);
  };
  restore = (number: number, [value = 0]: Uint8Array) => {
    this.values[number] = value;
  };
  removeReft = () => {};
  add(number: number, value: number) {
    this.check();
    this.values[number] = (this.values[number] ?? 0) + value;
  }
  check() {
    if (this.state !== "sound") throw new WebReftError("device", `the GPU is ${this.state}`);
  }
}

const asMachine = (engine: WebEngine) => engine as unknown as Machine;

let machines: Machine[];
let heard: string[];

/** A session whose n-th opening fails where `fails` says so. */
function session(backend: "auto" | "gpu" | "cpu", fails: (n: number) => boolean = () => false) {
  machines = [];
  heard = [];
  let opened = 0;
  const open: Open = async (asked) => {
    if (fails(opened++)) throw new WebReftError("device", "no WebGPU adapter");
    const machine = new Machine(asked);
    machines.push(machine);
    return { engine: machine as unknown as WebEngine, info: { backend: asked, warnings: [] } as unknown as ModelInfo };
  };
  const report = (recovery: Recovery) => heard.push(recovery.state);
  const first = new Machine(backend);
  machines.push(first);
  return new Session({ engine: first as unknown as WebEngine, info: {} as ModelInfo }, open, backend, report);
}

const last = () => machines.at(-1) as Machine;
const touch = (engine: WebEngine) => asMachine(engine).check();

beforeEach(() => {
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

/** Loses the machine and calls, with the clock running. */
async function loseAndCall(it: Session) {
  last().state = "lost";
  const call = it.run(signal, touch);
  call.catch(() => {});
  await vi.advanceTimersByTimeAsync(10_000);
  return call;
}

test("work is begun anew on a new machine, and the old one is let go", async () => {
  const it = session("auto");
  let tries = 0;
  const value = await it.run(signal, (engine) => {
    tries += 1;
    if (tries === 1) asMachine(engine).state = "lost";
    touch(engine);
    return "done";
  });
  expect([value, tries, machines.length, machines[0]?.isFreed]).toEqual(["done", 2, 2, true]);
  expect(heard).toEqual(["lost", "back"]);
});

test("an error that is not a loss ends the work, and a machine that is full is opened again by the next call", async () => {
  const it = session("gpu");
  await expect(it.run(signal, () => Promise.reject(new WebReftError("input", "no")))).rejects.toThrow("no");
  expect(machines).toHaveLength(1);
  const fill = it.run(signal, (engine) => {
    asMachine(engine).state = "full";
    touch(engine);
  });
  await expect(fill).rejects.toThrow("the GPU is full");
  expect(machines).toHaveLength(1);
  await it.run(signal, touch);
  expect(machines).toHaveLength(2);
});

test("the GPU is given up after the fourth loss in two minutes, and not where time passes", async () => {
  const it = session("auto");
  for (let loss = 1; loss <= 3; loss++) await loseAndCall(it);
  expect(last().backend).toBe("auto");
  await loseAndCall(it);
  expect(last().backend).toBe("cpu");

  const patient = session("auto");
  for (let loss = 1; loss <= 8; loss++) {
    await loseAndCall(patient);
    await vi.advanceTimersByTimeAsync(60_000);
  }
  expect(last().backend).toBe("auto");
});

test("where a GPU is asked for, the fourth loss is an error, and later the GPU is tried again", async () => {
  const it = session("gpu");
  for (let loss = 1; loss <= 3; loss++) await loseAndCall(it);
  const error = await loseAndCall(it).catch((error) => error);
  expect(error).toMatchObject({ kind: "device", message: expect.stringMatching(/failed 4 times within 2 minutes/) });
  expect(heard.slice(-2)).toEqual(["lost", "failed"]);
  await vi.advanceTimersByTimeAsync(120_000);
  await it.run(signal, touch);
  expect(last().backend).toBe("gpu");
});

test("openings that fail count as losses", async () => {
  const it = session("auto", (n) => n < 3);
  await loseAndCall(it);
  expect(last().backend).toBe("cpu");
});

test("interventions come back from their snapshot, and what came after it is done again", async () => {
  const it = session("auto");
  const reft = await it.hold(signal, (engine) => asMachine(engine).make(1));
  const add = (value: number) => async (engine: WebEngine, number: number) => asMachine(engine).add(number, value);
  const change = async (value: number, isDue = false) => {
    await it.run(signal, (engine) => add(value)(engine, it.number(reft)));
    await it.changed(reft, add(value), isDue);
  };
  await change(10);
  await loseAndCall(it);
  expect(last().values).toEqual([11]);
  await change(20, true); // a snapshot
  await change(40);
  last().values.length = 0;
  await loseAndCall(it);
  expect(last().values).toEqual([71]);
});

test("a machine that is lost while a snapshot is taken loses nothing", async () => {
  const it = session("auto");
  const reft = await it.hold(signal, (engine) => asMachine(engine).make(1));
  await it.run(signal, (engine) => asMachine(engine).add(it.number(reft), 5));
  last().state = "lost";
  await it.changed(reft, async (engine, number) => asMachine(engine).add(number, 5), true);
  await it.run(signal, touch);
  expect(last().values).toEqual([6]);
});

test("interventions that are removed do not come back", async () => {
  const it = session("auto");
  const reft = await it.hold(signal, (engine) => asMachine(engine).make(1));
  it.remove(reft);
  await loseAndCall(it);
  expect(last().values).toEqual([]);
  expect(() => it.number(reft)).toThrow("were disposed");
});
