/** ReFT for quantized language models, in the browser. Importing this touches nothing: work starts with a call. */
export type { Adapter } from "../wasm/webreft.js";
export { type ErrorKind, WebReftError } from "./error.js";

import type { Adapter } from "../wasm/webreft.js";
import { Client } from "./client.js";
import { WebReftError } from "./error.js";

/** Asks the browser for its GPU without loading anything. Rejects where there is none. */
export async function probe(): Promise<Adapter> {
  const client = new Client();
  try {
    return await client.call("probe", {});
  } finally {
    client.end(new WebReftError("aborted", "the probe is over"));
  }
}
