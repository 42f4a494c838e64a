/** Another page's writer: writes a file of one byte's copies again and again, and says how often it did. */
import { Store } from "../../src/store.js";

self.onmessage = async ({ data }: MessageEvent<{ folder: string; name: string; byte: number; times: number }>) => {
  const store = await Store.open(data.folder);
  for (let i = 0; i < data.times; i++) await store.write(data.name, new Uint8Array(50_000).fill(data.byte));
  self.postMessage("written");
};
