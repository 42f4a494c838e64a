import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { BROWSER_ARGS, browserPath } from "./browser.mjs";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "node", environment: "node", include: ["webreft/test/*.node.test.ts"] } },
      {
        test: {
          name: "chromium",
          include: ["webreft/test/*.browser.test.ts"],
          testTimeout: 120_000,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({ launchOptions: { executablePath: browserPath(), args: BROWSER_ARGS } }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});
