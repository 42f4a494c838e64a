import { expect, test } from "vitest";
import { readAhead } from "../src/ahead.js";

const MIB = 1 << 20;

/** A file whose every byte tells where it is, and the reads that were made on it. */
function file(length: number) {
  const reads: [number, number][] = [];
  const failing = new Set<number>();
  const read = async (offset: number, count: number) => {
    reads.push([offset, count]);
    if (failing.delete(offset) || offset + count > length) throw new Error(`no bytes at ${offset}`);
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = ((offset + i) * 31) >> 12;
    return bytes;
  };
  return { reader: { name: "a", length, read }, reads, failing };
}

test("bytes are those of the file, within a window, across two and at the end", async () => {
  const { reader } = file(20 * MIB + 5);
  const ahead = readAhead(reader);
  expect([ahead.name, ahead.length]).toEqual(["a", 20 * MIB + 5]);
  for (const [offset, count] of [
    [0, 10],
    [8 * MIB - 3, 7],
    [3 * MIB, 14 * MIB],
    [20 * MIB, 5],
    [1, 1],
    [7, 0],
  ] as const) {
    expect(Buffer.compare(await ahead.read(offset, count), await reader.read(offset, count))).toBe(0);
  }
});

test("a file that is read to its end is read once, a window ahead", async () => {
  const { reader, reads } = file(20 * MIB);
  const ahead = readAhead(reader);
  await ahead.read(0, MIB);
  expect(reads).toEqual([
    [0, 8 * MIB],
    [8 * MIB, 8 * MIB],
  ]);
  for (let at = MIB; at < 20 * MIB; at += MIB) await ahead.read(at, MIB);
  expect(reads).toEqual([
    [0, 8 * MIB],
    [8 * MIB, 8 * MIB],
    [16 * MIB, 4 * MIB],
  ]);
});

test("what fails is told to the one who reads it, and tried again", async () => {
  const { reader, failing } = file(20 * MIB);
  failing.add(0).add(8 * MIB);
  const ahead = readAhead(reader);
  await expect(ahead.read(4, 5)).rejects.toThrow("no bytes at 0");
  expect(await ahead.read(4, 5)).toHaveLength(5);
  expect(await ahead.read(9 * MIB, 5)).toHaveLength(5);
  await expect(ahead.read(19 * MIB, 2 * MIB)).rejects.toThrow();
});
