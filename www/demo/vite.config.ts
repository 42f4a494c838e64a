import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the page works from any folder of any host.
  base: "./",
  assetsInclude: ["**/*.gguf"],
  build: { target: "es2022", assetsInlineLimit: 0 },
  // The built-in model and its examples lie outside of www.
  server: { fs: { allow: [fileURLToPath(new URL("../..", import.meta.url))] } },
});
