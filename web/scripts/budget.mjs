// Fails the build when the home page would load more script than its budget: what index.html needs,
// what that imports, and the home page's own chunk, as gzip sends it.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const budget = 300_000;
const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist)));
const seen = new Set();
const add = (key) => {
  if (seen.has(key)) return;
  seen.add(key);
  manifest[key].imports?.forEach(add);
};
for (const key of Object.keys(manifest)) if (key === "index.html" || key.endsWith("/home/Home.tsx")) add(key);
const sizes = [...seen].map((key) => manifest[key].file).filter((file) => file.endsWith(".js"))
  .map((file) => ({ file, bytes: gzipSync(readFileSync(new URL(file, dist))).length }));
const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
console.log(`home page: ${(total / 1000).toFixed(1)} kB of compressed script in ${sizes.length} files (budget ${budget / 1000} kB)`);
if (total > budget) {
  console.error(sizes.map(({ file, bytes }) => `  ${file} ${bytes}`).join("\n"));
  process.exit(1);
}
rmSync(new URL(".vite", dist), { recursive: true });
writeFileSync(new URL(".placeholder", dist), ""); // keeps the folder in a fresh clone
