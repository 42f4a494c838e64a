/** The browser's GPU, as it says of itself. */
import { WebReftError } from "./error.js";

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

/** Finds the adapter that the engine will take, or says why there is none. */
export async function findAdapter(): Promise<Adapter> {
  if (!self.isSecureContext) {
    throw new WebReftError("unsupported", "WebGPU works only on https pages and on localhost");
  }
  if (!navigator.gpu) {
    throw new WebReftError("unsupported", "this browser has no WebGPU: use a current Chrome, Edge, Safari or Firefox");
  }
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new WebReftError("device", "no WebGPU adapter: the browser has WebGPU, but offers no GPU for it");
  }
  const { info, limits, features } = adapter;
  return {
    name: info.description || [info.vendor, info.architecture].filter(Boolean).join(" ") || "unnamed GPU",
    software: info.isFallbackAdapter,
    maxBufferSize: limits.maxBufferSize,
    maxBindingSize: limits.maxStorageBufferBindingSize,
    features: [...features].sort(),
  };
}
