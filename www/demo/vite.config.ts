import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the page works from any folder of any host.
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0 },
  worker: { format: "es" },
});
