// How many requests ten open pages send while the demo plays: node measure.mjs, with FLYWHEEL the binary.
// Each page is a window of its own, as ten people have them. Only GET requests of the API are counted, from the
// first sight of each page until the demo has ended; docs/decisions/0028 states what this printed.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { launch, open, signIn } from "./browser.mjs";

const demo = spawn(process.env.FLYWHEEL ?? "../bin/flywheel", ["demo", "--once"], { stdio: ["ignore", "ignore", "pipe"] });
const counts = new Map();
let counting = true;
let base;
const promised = () => {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  return it;
};
const ready = promised();
const over = promised();
const said = [];
createInterface({ input: demo.stderr }).on("line", (text) => {
  said.push(text);
  base ??= /Flywheel is ready at (http:\S+)/.exec(text)?.[1];
  const [, name, password] = /sign in as (\S+) with the password (\S+)/.exec(text) ?? [];
  if (name) ready.resolve([name, password]);
  if (/One revolution in/.test(text)) {
    counting = false;
    over.resolve(text);
  }
});
process.on("SIGTERM", () => {
  counting = false;
  over.resolve("it was cut short");
});
demo.on("exit", (code) => {
  over.resolve(`the demo ended with ${code}\n${said.slice(-5).join("\n")}`);
  ready.reject(new Error(`the demo ended with ${code}`));
});

/** A path without the ids in it. */
const shape = (url) => new URL(url).pathname.replace(/(chg|dpl|evt|sty|req)_[0-9a-z]+/g, "{id}").replace(/\/apps\/[^/]+/, "/apps/{app}").replace(/\/patterns\/[^/]+/, "/patterns/{pattern}");
const count = (request) => {
  if (!counting || request.method() !== "GET" || !request.url().includes("/api/")) return;
  const path = shape(request.url());
  counts.set(path, (counts.get(path) ?? 0) + 1);
};

const [name, password] = await ready.promise;
const browser = await launch();
const first = await open(browser, base);
await signIn(first, name, password);
const state = await first.context().storageState();
const pages = [];
for (const path of ["/", "/", "/apps", "/apps/storefront", "/changes", "/changes?kind=app", "/deployments", "/audit", "/patterns", "/environments"]) {
  const page = await open(browser, base, { state });
  page.on("request", count);
  await page.goto(path);
  pages.push(page);
}
await first.close();
// The sixth person opens every change of an app as it comes, as its author would.
let seen = "";
const author = setInterval(async () => {
  const answer = await pages[5].context().request.get("/api/v1/changes?kind=app&limit=1").catch(() => undefined);
  const id = answer?.ok() ? (await answer.json()).items[0]?.id : undefined;
  if (id && id !== seen && counting) {
    seen = id;
    await pages[5].goto(`/changes/${id}`).catch(() => undefined);
  }
}, 1000);
const began = Date.now();
console.log(await over.promise);
console.log(`The pages were open for ${Math.round((Date.now() - began) / 1000)} seconds.`);
clearInterval(author);
await browser.close().catch(() => undefined);
let all = 0;
for (const [path, n] of [...counts].sort((a, b) => b[1] - a[1])) {
  console.log(String(n).padStart(6), path);
  all += n;
}
console.log(String(all).padStart(6), "in all");
demo.kill("SIGTERM");
process.exit(0);
