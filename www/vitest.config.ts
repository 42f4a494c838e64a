import { dirname } from "node:path";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { ARGS_WITHOUT_GPU, BROWSER_ARGS, browserPath } from "./browser.mjs";

/** Tests in a Chromium that is started with these arguments. */
function chromium(name: string, include: string[], args: string[], globalSetup = "webreft/test/hub.setup.ts") {
  return {
    assetsInclude: ["**/*.gguf"],
    server: { fs: { allow: ["..", dirname(process.env.WEBREFT_SMOLLM2 ?? "..")] } },
    test: {
      name,
      include,
      testTimeout: 120_000,
      globalSetup,
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({ launchOptions: { executablePath: browserPath(), args } }),
        instances: [{ browser: "chromium" as const }],
      },
    },
  };
}

export default defineConfig({
  test: {
    // One file at a time: they share two cores.
    fileParallelism: false,
    projects: [
      { test: { name: "node", environment: "node", testTimeout: 30_000, include: ["*/test/**/*.node.test.ts"] } },
      chromium(
        "chromium",
        [
          "webreft/test/{model,examples,steer,store,stored,trouble,gpu,watch,faults}.browser.test.ts",
          "webreft/test/faults/{calls,device,lost,messages,programs}.browser.test.ts",
          // Four hundred loads: they run with `cargo xtask faults`.
          ...(process.env.WEBREFT_FAULTS === "all" ? ["webreft/test/faults/storage.browser.test.ts"] : []),
        ],
        BROWSER_ARGS,
      ),
      chromium("chromium without adapter", ["webreft/test/absent.browser.test.ts"], ARGS_WITHOUT_GPU),
      chromium("real", ["webreft/test/real.browser.test.ts"], BROWSER_ARGS, "webreft/test/real.setup.ts"),
    ],
  },
});
