/** The browser that tests and the headless demo drive, and how it is started. */
import process from "node:process";

/** `cargo xtask` finds a Chromium and names it in WEBREFT_CHROMIUM. */
export function browserPath() {
  return process.env.WEBREFT_CHROMIUM ?? "/usr/bin/chromium";
}

/** The machine's own GPU where WEBREFT_ADAPTER is `gpu`; else the software adapter, the same on every machine. */
const ADAPTER =
  process.env.WEBREFT_ADAPTER === "gpu"
    ? ["--enable-features=Vulkan", "--ignore-gpu-blocklist"]
    : ["--use-webgpu-adapter=swiftshader"];

/** Nothing that talks to the outside. Without more there is no adapter. */
export const ARGS_WITHOUT_GPU = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The same with WebGPU. */
export const BROWSER_ARGS = [...ARGS_WITHOUT_GPU, "--enable-unsafe-webgpu", ...ADAPTER];
