/** The browser that tests and the headless demo drive, and how it is started. */
import process from "node:process";

/** `cargo xtask` finds a Chromium and names it in WEBREFT_CHROMIUM. */
export function browserPath() {
  return process.env.WEBREFT_CHROMIUM ?? "/usr/bin/chromium";
}

/** WebGPU on the software adapter, the same on every machine; nothing that talks to the outside. */
export const BROWSER_ARGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
];
