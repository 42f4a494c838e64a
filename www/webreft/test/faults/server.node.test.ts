/**
 * Servers that misbehave at random: whatever they do, a download ends with the right file or with an error that passes, takes no more than
 * twice the file's bytes, and never leaves a wrong file for a right one. `FAULT_SEED` and `FAULT_RUNS` choose other runs.
 */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { download } from "../../src/download.js";
import { WebReftError } from "../../src/error.js";
import { Network } from "../../src/network.js";
import { remoteReader } from "../../src/reader.js";
import type { RemoteFile } from "../../src/remote.js";
import { CheckedSink } from "../../src/sink.js";
import { memory } from "../memory.js";
import { BadServer, MISBEHAVIOURS, type Misbehaviour, type Step, schedule, type Versions } from "./bad-server.js";
import { Random } from "./random.js";

const SEED = Number(process.env.FAULT_SEED ?? 1);
const RUNS = Number(process.env.FAULT_RUNS ?? 200);
/** At a time: they wait more than they compute. */
const BATCH = 20;
const PATIENCE = { silence: 400, waits: [1, 2, 4, 8] };
const TIMEOUT = 60_000 + 1000 * RUNS;
const STEPS = 5;
/** What one read of an answer may bring beyond the file's end. */
const SURPLUS = 65_536;

/** What nobody can see in an answer without knowing the file's hash. */
const NEEDS_HASH: Misbehaviour[] = ["liar", "flip"];

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Counts what is read of answers. */
class Counted extends Network {
  bytes = 0;

  override async *chunks(url: string, response: Response) {
    for await (const chunk of super.chunks(url, response)) {
      this.bytes += chunk.length;
      yield chunk;
    }
  }
}

/** A random file of a server that misbehaves, and what is known of it. */
function scene(seed: number, least: number, most: number) {
  const random = new Random(seed);
  const isHashed = random.below(2) === 0;
  const versions = random.one<Versions>(["etag", "modified", "none"]);
  const file = () => {
    const bytes = random.bytes(least + random.below(most - least));
    bytes.set(new TextEncoder().encode("GGUF"));
    return bytes;
  };
  const first = file();
  // A file of known hash stays the same; what its server says of its version may change all the same.
  const next = isHashed ? first : file();
  const ways = isHashed ? MISBEHAVIOURS : MISBEHAVIOURS.filter((how) => !NEEDS_HASH.includes(how));
  const steps = schedule(random, ways, 1 + random.below(STEPS));
  return { isHashed, versions, first, next, steps, server: new BadServer(first, next, steps, versions) };
}

const told = (seed: number, versions: Versions, steps: Step[]) =>
  `seed ${seed}, version by ${versions}: ${steps.map(({ how, at, cut }) => `${how} at ${at}${cut ? ", cut" : ""}`).join("; ")}`;

/** Takes errors that pass, and no others. */
async function passing<Value>(work: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof WebReftError && error.kind === "file" && error.retryable) return undefined;
    throw error;
  }
}

/** Downloads as page after page does, until it is done. */
async function runDownload(seed: number): Promise<Misbehaviour[]> {
  const { isHashed, versions, first, next, steps, server } = scene(seed, 100_000, 400_000);
  const url = await server.start();
  const file: RemoteFile = {
    name: "model.gguf",
    url,
    ...(isHashed && { bytes: first.length, sha256: hashOf(first) }),
  };
  const sink = memory();
  const watch = {
    version: undefined as string | undefined,
    size: undefined as number | undefined,
    async onVersion(version: string | undefined, size: number | undefined) {
      Object.assign(watch, { version, size });
    },
    onBytes() {},
    onVerify() {},
  };
  const once = async () => {
    const network = new Counted({ endpoint: "https://hub.example" }, AbortSignal.timeout(60_000), PATIENCE);
    const hash = createHash("sha256");
    const fed = { update: (bytes: Uint8Array) => void hash.update(bytes), finish: () => hash.digest("hex") };
    const { version, size } = watch; // as the record of a stored model has them
    const isDone = await passing(async () => {
      await download(file, new CheckedSink("model.gguf", sink), fed, network, { ...watch, version, size });
      return true;
    });
    expect(network.bytes).toBeLessThanOrEqual(2 * Math.max(first.length, next.length) + SURPLUS);
    return isDone;
  };
  try {
    let done = false;
    for (let page = 0; !done; page++) {
      expect(page).toBeLessThan(STEPS + 2);
      done = (await once()) ?? false;
    }
    // A server that changes while nothing is asked of it any more has the old one's length and hash here.
    const right = [first, next].map(hashOf);
    expect(right).toContain(hashOf(sink.bytes()));
  } catch (error) {
    throw new Error(told(seed, versions, steps), { cause: error });
  } finally {
    server.close();
  }
  return steps.map(({ how }) => how);
}

/** Reads a file in ranges, without storage, from the beginning until it works. */
async function runReader(seed: number): Promise<Misbehaviour[]> {
  const { versions, first, next, steps, server } = scene(seed, 5_000_000, 9_000_000);
  const seen = steps.filter(({ how }) => !NEEDS_HASH.includes(how));
  steps.splice(0, steps.length, ...seen);
  const url = await server.start();
  const once = () => {
    const network = new Counted({ endpoint: "https://hub.example" }, AbortSignal.timeout(60_000), PATIENCE);
    return passing(async () => {
      const reader = await remoteReader({ name: "model.gguf", url }, network, () => {});
      const hash = createHash("sha256");
      for (let at = 0; at < reader.length; at += 1_000_000) {
        hash.update(await reader.read(at, Math.min(1_000_000, reader.length - at)));
      }
      return hash.digest("hex");
    }).finally(() => expect(network.bytes).toBeLessThanOrEqual(2 * Math.max(first.length, next.length) + SURPLUS));
  };
  try {
    let got: string | undefined;
    for (let page = 0; got === undefined; page++) {
      expect(page).toBeLessThan(STEPS + 2);
      got = await once();
    }
    expect([first, next].map(hashOf)).toContain(got);
  } catch (error) {
    throw new Error(told(seed, versions, steps), { cause: error });
  } finally {
    server.close();
  }
  return steps.map(({ how }) => how);
}

async function runAll(count: number, run: (seed: number) => Promise<Misbehaviour[]>): Promise<void> {
  const met = new Map<Misbehaviour, number>();
  for (let i = 0; i < count; i += BATCH) {
    const seeds = Array.from({ length: Math.min(BATCH, count - i) }, (_, j) => SEED + i + j);
    for (const ways of await Promise.all(seeds.map(run))) {
      for (const how of ways) met.set(how, (met.get(how) ?? 0) + 1);
    }
  }
  const ways = [...met].map(([how, times]) => `${how} ${times}`).join(", ");
  console.info(`${count} runs from seed ${SEED}: ${ways}`);
}

test(
  "a download ends with the right file, or with an error that passes",
  async () => {
    await runAll(RUNS, runDownload);
  },
  TIMEOUT,
);

test(
  "ranges without storage give the right file, or an error that passes",
  async () => {
    await runAll(Math.ceil(RUNS / 10), runReader);
  },
  TIMEOUT,
);
