// The browser and what every test asks of a page: no violation of accessibility, nothing that the
// Content-Security-Policy had to block, and no line that is wider than the window.
import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { patience } from "./patience.mjs";

const shots = new URL("shots/", import.meta.url).pathname;

/** The user's Chromium: $CHROMIUM, or the first one on PATH. */
export function findBrowser() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const found = [process.env.CHROMIUM, ...(process.env.PATH ?? "").split(delimiter).flatMap((dir) => names.map((name) => join(dir, name)))].find((path) => path && existsSync(path));
  if (!found) throw new Error("No Chromium was found. Install it (apt-get install chromium), or set CHROMIUM to its path.");
  return found;
}

export function launch() {
  return chromium.launch({ executablePath: findBrowser(), args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
}

/** A window of its own, as another person has it. What the page complains about is collected. */
export async function open(browser, base, { width = 1280, height = 900, scheme = "light", scale = 1, state } = {}) {
  const context = await browser.newContext({ baseURL: base, viewport: { width, height }, deviceScaleFactor: scale, colorScheme: scheme, storageState: state, locale: "en-GB", reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.complaints = [];
  page.on("console", (message) => {
    // A refused request is an answer that the page shows, not a fault of the page.
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) page.complaints.push(message.text());
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  return page;
}

export async function signIn(page, name, password) {
  await page.goto("/");
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
}

/** Chooses an option of a field that opens a list. */
export async function choose(page, label, option) {
  await page.getByLabel(label, { exact: true }).locator("visible=true").first().click();
  await page.getByRole("option", { name: option, exact: true }).click();
}

/** Waits until the page shows what it came for: a title, and nothing that still loads. */
export async function settled(page) {
  await page.locator("h1").first().waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-label="Loading"]'));
}

export async function look(page, name) {
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Looks at a page in its three widths, light and dark, and keeps a picture of each. */
export async function tour(page, name) {
  for (const [width, height] of [[360, 780], [1280, 900], [2560, 1200]]) {
    await page.setViewportSize({ width, height });
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      // The same elements stand there in both schemes: in the second one only the colours are new.
      await check(page, `${name} at ${width} px, ${scheme}`, { colours: scheme === "dark" });
      await look(page, `${name}-${width}-${scheme}`);
    }
  }
}

/** Fails when a page breaks a rule of accessibility, is wider than its window, or complained. */
export async function check(page, name, { colours = false } = {}) {
  // A change of the colour scheme or the width is drawn in the next frame, and what moves there comes to rest.
  await page.evaluate(async () => {
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    await Promise.allSettled(document.getAnimations().filter(({ effect }) => effect.getComputedTiming().endTime !== Infinity).map(({ finished }) => finished));
  });
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe.source);
  const rules = colours ? { type: "rule", values: ["color-contrast", "link-in-text-block"] } : { type: "tag", values: tags };
  const violations = await page.evaluate(async (runOnly) => (await window.axe.run(document, { runOnly, resultTypes: ["violations"] })).violations, rules);
  assert.deepEqual(violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`).join(" | ")}`), [], `${name}: accessibility`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${name}: the page is ${over}px wider than the window`);
  assert.match(await page.title(), /Flywheel/, `${name}: title`);
  assert.deepEqual(page.complaints, [], `${name}: console`);
}
