/**
 * What the caller can do about an error:
 *
 * - `file`: the file is damaged, cut off, or cannot be read; get another one.
 * - `unsupported`: the file or browser is sound, but webreft does not do this; another model, or another browser.
 * - `device`: the GPU that was asked for is missing, or the machine is lost or too small; load again, or a smaller model.
 * - `input`: the call asks for something that cannot be; fix the call.
 * - `aborted`: the caller ended it; nothing is wrong.
 * - `bug`: webreft is wrong; please report it. The model is loaded again by the next call, where that can be.
 */
export type ErrorKind = "file" | "unsupported" | "device" | "input" | "aborted" | "bug";

/** The one error of this package. */
export class WebReftError extends Error {
  override readonly name = "WebReftError";
  /** What the caller can do about it. */
  readonly kind: ErrorKind;
  /** Whether the same call can succeed when it is made again. */
  readonly retryable: boolean;

  constructor(kind: ErrorKind, message: string, options: ErrorOptions & { retryable?: boolean } = {}) {
    super(message, options);
    this.kind = kind;
    this.retryable = options.retryable ?? (kind === "device" || kind === "aborted");
  }
}
