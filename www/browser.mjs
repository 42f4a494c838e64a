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

/** WebGPU, and nothing that talks to the outside. */
export const BROWSER_ARGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--enable-unsafe-webgpu",
  ...ADAPTER,
];
