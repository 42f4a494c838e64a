/** Who computes: what the address asks for, and what it means for the visitor. */
import { type LoadOptions, type Machine, WebReftError } from "webreft";

/** Who is asked to compute. */
export type Backend = NonNullable<LoadOptions["backend"]>;

/** What can be asked for, as the page calls it. */
export const BACKENDS: Record<Backend, string> = { auto: "Automatic", gpu: "GPU", cpu: "CPU" };

/**
 * What an address asks for by `?backend=`.
 *
 * @throws {WebReftError} `input` for what is no backend.
 */
export function backendIn(search: string): Backend {
  const name = new URLSearchParams(search).get("backend") ?? "auto";
  if (Object.hasOwn(BACKENDS, name)) return name as Backend;
  throw new WebReftError("input", `?backend=${name}: expected ${Object.keys(BACKENDS).join(", ")}`);
}

/** Who computes; undefined until the browser has said what it has. */
export function computesOn(asked: Backend, machine: Machine | undefined): Machine["backend"] | undefined {
  return asked === "auto" ? machine?.backend : asked;
}

/** What that means, in one line. */
export function meaning(asked: Backend, machine: Machine): string {
  const { adapter } = machine;
  if (computesOn(asked, machine) === "cpu") {
    const why = asked === "cpu" ? "As you chose, the CPU computes" : "This browser offers no GPU, so the CPU computes";
    return `${why}: answers take seconds, training takes minutes. Models up to about 0.5B are sensible.`;
  }
  if (!adapter) return "This browser offers no GPU: choose Automatic or CPU.";
  const slow = adapter.software ? ", a program in place of a GPU: slower than the CPU" : "";
  return `The GPU computes: ${adapter.name}${slow}.`;
}
