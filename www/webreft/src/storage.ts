/** The browser's durable storage: how much room it has, and what goes wrong with it. */
import { WebReftError } from "./error.js";

/** What the browser lets this origin store, in bytes. */
export interface Space {
  used: number;
  free: number;
}

/** How much this origin has stored, and how much more it may; undefined where the browser does not say. */
export async function space(): Promise<Space | undefined> {
  const unknown: StorageEstimate = {};
  const { usage = 0, quota } = await navigator.storage.estimate().catch(() => unknown);
  return quota === undefined ? undefined : { used: usage, free: Math.max(quota - usage, 0) };
}

/** What is needed and what is free, in words. */
export async function roomFor(bytes: number): Promise<string> {
  const mb = (n: number) => `${(n / 1e6).toFixed(1)} MB`;
  const there = await space();
  return `${mb(bytes)} are needed${there ? `, ${mb(there.free)} are free` : ""}`;
}

/** A failure of the storage itself, not of what is stored. The same call can succeed later: a full disk can be emptied. */
export class StorageError extends WebReftError {
  /** Whether there is no room. */
  readonly isFull: boolean;

  constructor(what: string, cause: unknown, isFull = isQuota(cause)) {
    super("file", `durable storage, ${what}: ${cause}`, { cause, retryable: true });
    this.isFull = isFull;
  }
}

/** Whether the browser says that there is no room. */
function isQuota(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError";
}
