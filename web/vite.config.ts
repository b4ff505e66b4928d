import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` serves the pages with a running Flywheel behind them.
const backend = process.env.FLYWHEEL_URL ?? "http://127.0.0.1:7270";

export default defineConfig({
  plugins: [react()],
  build: {
    target: ["chrome123", "firefox120", "safari17.5"], // light-dark() is left to the browser
    emptyOutDir: true,
    modulePreload: { polyfill: false }, // it would be an inline script, which the CSP forbids
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    manifest: true, // read by scripts/budget.mjs
  },
  server: { proxy: Object.fromEntries(["/api", "/openapi.json", "/schemas"].map((path) => [path, { target: backend }])) },
});
