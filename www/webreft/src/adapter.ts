/** The machines that a browser offers: its GPU, as it says of itself, and the CPU. */

/** The GPU that a browser offers. */
export interface Adapter {
  /** Vendor and architecture, or what its driver calls it: `apple metal-3`. */
  name: string;
  /** Whether it is a program on the CPU, and not a GPU. */
  software: boolean;
  /** Bytes in the largest buffer it can make. */
  maxBufferSize: number;
  /** Bytes of one buffer that a shader can see. */
  maxBindingSize: number;
  /** WebGPU's optional features that it has. */
  features: string[];
}

/** Who computes in a browser. */
export interface Machine {
  /** Who computes unless a load asks for another: a real GPU, else the CPU. */
  backend: "gpu" | "cpu";
  /** The browser's GPU, or the program that it has in place of one. */
  adapter?: Adapter;
  /** Why it is the CPU. */
  reason?: string;
}

/** Finds out who computes. A browser without a GPU is no error. */
export async function findMachine(): Promise<Machine> {
  if (!self.isSecureContext) return onCpu("WebGPU works only on https pages and on localhost");
  if (!navigator.gpu) return onCpu("this browser has no WebGPU");
  const asked = navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  const found = await Promise.race([asked, silence()]);
  if (found === "silence") return onCpu("the browser does not answer when it is asked for a GPU");
  if (!found) return onCpu("no WebGPU adapter: the browser has WebGPU, but offers no GPU for it");
  const adapter = describe(found);
  if (adapter.software) return onCpu(`${adapter.name} is a program in place of a GPU`, adapter);
  return { backend: "gpu", adapter };
}

/** Milliseconds in which a browser finds a GPU; one whose GPU process has crashed too often may never answer. */
const PATIENCE = 20_000;

function silence(): Promise<"silence"> {
  return new Promise((resolve) => setTimeout(() => resolve("silence"), PATIENCE));
}

function onCpu(reason: string, adapter?: Adapter): Machine {
  return { backend: "cpu", reason, ...(adapter && { adapter }) };
}

/** Names of programs that compute on the CPU, where the browser does not say so. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i;

function describe({ info, limits, features }: GPUAdapter): Adapter {
  const name = info.description || [info.vendor, info.architecture].filter(Boolean).join(" ") || "unnamed GPU";
  return {
    name,
    software: info.isFallbackAdapter || SOFTWARE.test(name),
    maxBufferSize: limits.maxBufferSize,
    maxBindingSize: limits.maxStorageBufferBindingSize,
    features: [...features].sort(),
  };
}
