// The main job with the keyboard alone: no test here touches a mouse. Every element that Tab reaches must
// show that it has the focus and must not lie under something that stays in place; a dialog takes the
// focus, keeps it, and gives it back.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, look, open } from "./browser.mjs";
import { clone, password, person, populate, start } from "./flywheel.mjs";
import { patience } from "./patience.mjs";

const slow = { timeout: 6 * patience }; // the first build of an app on a busy machine
let flywheel, browser, admin, pattern, dana, shop;

before(async () => {
  flywheel = await start();
  browser = await launch();
  ({ admin, pattern } = await populate(flywheel));
});
after(async () => {
  shop?.remove();
  await browser?.close();
  await flywheel?.stop();
});

/** What has the focus, in a word, and why it cannot be seen there, if so. */
function focused(page) {
  return page.evaluate(() => {
    const element = document.activeElement;
    if (!element || element === document.body || element.id === "main") return { name: "the page" };
    const parts = [element, element.parentElement, element.parentElement?.parentElement];
    const style = () => {
      for (const animation of document.getAnimations()) if (animation.effect.getComputedTiming().endTime !== Infinity) animation.finish();
      return parts.map((part) => {
        const { outlineStyle, outlineWidth, outlineColor, boxShadow, borderColor, backgroundColor } = getComputedStyle(part);
        return [outlineStyle === "none" ? "" : outlineWidth + outlineColor, boxShadow, borderColor, backgroundColor].join(" ");
      }).join("\n");
    };
    const name = `${element.tagName.toLowerCase()} "${(element.getAttribute("aria-label") || element.labels?.[0]?.innerText || element.innerText || "").trim().slice(0, 60)}"`;
    const having = style();
    // A copy of it nearby would be different in other ways, so the focus is taken away for a moment.
    const hold = (event) => event.stopImmediatePropagation();
    for (const type of ["blur", "focusout", "focus", "focusin"]) window.addEventListener(type, hold, true);
    element.blur();
    const lacking = style();
    element.focus({ preventScroll: true });
    for (const type of ["blur", "focusout", "focus", "focusin"]) window.removeEventListener(type, hold, true);
    const box = element.getBoundingClientRect();
    const x = box.left + Math.min(box.width, innerWidth) / 2;
    const y = box.top + Math.min(box.height, 24) / 2;
    const above = document.elementFromPoint(x, y)?.closest(".topbar");
    const wrong = having === lacking ? "does not show that it has the focus" : x < 0 || y < 0 || x > innerWidth || y > innerHeight ? "has the focus outside of the window" : above && !above.contains(element) ? "has the focus under the bar at the top" : "";
    return { name, wrong };
  });
}

/** Presses Tab until the focus is there, and looks at each element on the way. */
async function tabTo(page, target, key = "Tab") {
  const passed = [];
  for (let i = 0; i < 160; i++) {
    if (await target.evaluateAll((elements) => elements.includes(document.activeElement))) return;
    await page.keyboard.press(key);
    const { name, wrong } = await focused(page);
    assert.ok(!wrong, `${page.url()}: ${name} ${wrong}`);
    passed.push(name);
  }
  assert.fail(`${page.url()}: ${key} does not reach ${target}. It passed ${[...new Set(passed)].join(", ")}`);
}

async function press(page, target, key = "Enter") {
  await target.first().waitFor();
  await tabTo(page, target);
  await page.keyboard.press(key);
}

/** Tab goes round inside of the dialog and never leaves it. */
async function trapped(page, dialog) {
  await dialog.waitFor();
  const inside = () => dialog.evaluate((element) => element.contains(document.activeElement));
  await page.waitForFunction(() => document.querySelector('[role="dialog"]')?.contains(document.activeElement));
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press(i < 8 ? "Tab" : "Shift+Tab");
    assert.ok(await inside(), `${(await focused(page)).name} is outside of the dialog`);
  }
}

/** Escape closes what is open, and the focus is where it was before. */
async function gaveBack(page, target, what) {
  await page.keyboard.press("Escape");
  await what.waitFor({ state: "detached" });
  await page.waitForFunction((element) => document.activeElement === element, await target.elementHandle(), { timeout: patience });
}

/** Presses the arrow until an item of the menu has the focus: the menu hears keys only once it has opened. */
async function intoMenu(page) {
  for (const deadline = Date.now() + patience; ;) {
    await page.keyboard.press("ArrowDown");
    if (await page.evaluate(() => document.activeElement?.getAttribute("role") === "menuitem")) return;
    assert.ok(Date.now() < deadline, "no item of the menu takes the focus");
  }
}

async function reach(page, word) {
  const head = page.locator(".titles");
  await head.getByText(word, { exact: true }).or(head.getByText(/^(Failed|Refused|Blocked|Held|Rolled back|Rejected)$/)).first().waitFor(slow);
  assert.ok(await head.getByText(word, { exact: true }).isVisible(), await page.locator("main").innerText());
}

async function signIn(name, options) {
  const page = await open(browser, flywheel.url, options);
  await page.goto("/");
  await page.getByLabel("Name").waitFor();
  await page.keyboard.type(name); // the first field has the focus
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  return page;
}

test("the first Tab offers to skip the navigation", async () => {
  dana = await signIn("dana");
  await dana.keyboard.press("Tab");
  const skip = dana.getByRole("link", { name: "Skip to the page" });
  assert.ok(await skip.evaluate((link) => document.activeElement === link && link.getBoundingClientRect().top >= 0));
  await look(dana, "keyboard-skip");
  await dana.keyboard.press("Enter");
  await dana.keyboard.press("Tab");
  assert.ok(await dana.evaluate(() => document.querySelector("main").contains(document.activeElement)), (await focused(dana)).name);
});

test("a member of the Center of Excellence approves a pattern change", async () => {
  const detail = async () => await admin.get(`/changes/${pattern}`);
  for (const deadline = Date.now() + 3 * patience; (await detail()).change.state !== "review"; await new Promise((resolve) => setTimeout(resolve, 200))) assert.ok(Date.now() < deadline, "the pattern change does not come to review");
  const sam = await signIn("sam");
  await press(sam, sam.getByRole("list", { name: "Waiting for you" }).getByRole("link"));
  await reach(sam, "Review");
  await tabTo(sam, sam.getByLabel("Decide for security"));
  await sam.keyboard.type("Providers and images are ours.");
  await press(sam, sam.getByRole("button", { name: "Approve" }));
  await sam.getByText("One person counts for one discipline").waitFor();
  const { certification } = await detail();
  for (const [name, discipline] of [["olga", "operations"], ["devi", "development"]]) await (await person(flywheel.url, name)).post(`/changes/${pattern}/approve`, { discipline, digest: certification.digest, reason: "" });
  await reach(sam, "Published");
  await sam.context().close();
});

test("a developer creates an app and watches it reach prod", async () => {
  await dana.keyboard.press("g");
  await dana.keyboard.press("a");
  await dana.getByRole("heading", { name: "Apps", level: 1 }).waitFor();
  await press(dana, dana.locator("main").getByRole("link", { name: "Create an app" }));
  await dana.getByLabel("Name", { exact: true }).waitFor();
  await tabTo(dana, dana.getByLabel("Name", { exact: true }));
  await dana.keyboard.type("storefront");
  await tabTo(dana, dana.getByLabel("staging"));
  await dana.keyboard.press("Space");
  assert.ok(!(await dana.getByLabel("staging").isChecked()));
  await dana.keyboard.press("Space");
  await press(dana, dana.getByRole("button", { name: "Create the app" }));
  await dana.getByRole("heading", { name: /Create storefront/ }).waitFor(slow);
  await reach(dana, "Deployed");
});

test("a change is opened from home, merged after a second thought, and its deployment is watched", async () => {
  const token = (await (await person(flywheel.url, "dana")).post("/tokens", { name: "git", scopes: ["read", "write", "admin"] })).secret;
  shop = clone(flywheel.url, token, "apps/storefront");
  shop.push("careful", "Merge by hand", { "flywheel.yaml": (text) => text.replace("merge: auto", "merge: manual"), "main.go": (code) => `${code}\n// careful\n` });
  await dana.keyboard.press("g");
  await dana.keyboard.press("h");
  const mine = dana.getByRole("list", { name: "Waiting for you" }).getByRole("link", { name: /Merge by hand/ });
  await mine.waitFor(slow);
  await press(dana, mine);
  await reach(dana, "Ready");

  const merge = dana.locator("main").getByRole("button", { name: "Merge", exact: true });
  const dialog = dana.getByRole("dialog");
  await press(dana, merge);
  await trapped(dana, dialog);
  await look(dana, "keyboard-dialog");
  await gaveBack(dana, merge, dialog);
  await dana.keyboard.press("Enter");
  await press(dana, dialog.getByRole("button", { name: "Merge", exact: true }));

  await dana.getByRole("link", { name: /^Deployment #/ }).or(dana.locator(".live-deployment summary")).first().waitFor(slow);
  await reach(dana, "Deployed");
  const summary = dana.locator(".live-deployment summary").last();
  await tabTo(dana, summary);
  const link = dana.locator(".live-deployment").last().getByRole("link", { name: /^Deployment #/ });
  if (!(await link.isVisible())) await dana.keyboard.press("Enter");
  await press(dana, link);
  await dana.getByRole("heading", { name: /storefront in prod/ }).waitFor();
  await reach(dana, "Succeeded");
  const log = dana.getByRole("log");
  await tabTo(dana, log);
  await dana.keyboard.press("Home");
});

test("a menu is walked with the arrows and gives the focus back", async () => {
  await dana.keyboard.press("g");
  await dana.keyboard.press("a");
  await press(dana, dana.getByRole("link", { name: /^storefront/ }));
  const more = dana.getByRole("button", { name: "More for prod" });
  await more.waitFor();
  await press(dana, more);
  const item = dana.getByRole("menuitem", { name: "Remove from prod" });
  await item.waitFor();
  await intoMenu(dana);
  await gaveBack(dana, more, item);
  // What the menu opens gives the focus back as well, though the item it began at is gone.
  await dana.keyboard.press("Enter");
  await item.waitFor();
  await intoMenu(dana);
  await dana.keyboard.press("Enter");
  const dialog = dana.getByRole("dialog", { name: /^Remove / });
  await trapped(dana, dialog);
  await gaveBack(dana, more, dialog);
});

test("an operator rolls back to a deployment chosen with the arrows", async () => {
  const prod = dana.getByRole("region", { name: "prod" });
  await press(dana, prod.getByRole("button", { name: "Roll back" }));
  const dialog = dana.getByRole("dialog", { name: /Roll back/ });
  await trapped(dana, dialog);
  await tabTo(dana, dialog.getByLabel("Back to"));
  await dana.keyboard.press("ArrowDown");
  await dana.getByRole("option").first().waitFor();
  await dana.keyboard.press("ArrowDown");
  await dana.keyboard.press("Enter");
  assert.match(await dialog.getByLabel("Back to").inputValue(), /^#1 /);
  await press(dana, dialog.getByRole("button", { name: "Roll back" }));
  await dana.getByRole("heading", { name: /storefront in prod/ }).waitFor(slow);
  await reach(dana, "Succeeded");
});

test("the palette and the shortcuts take the focus and give it back", async () => {
  await dana.keyboard.press("g");
  await dana.keyboard.press("c");
  await dana.getByRole("heading", { name: "Changes", level: 1 }).waitFor();
  const pill = dana.getByRole("navigation", { name: "State" }).getByRole("link").nth(1);
  await tabTo(dana, pill);
  await dana.keyboard.press("Control+k");
  const field = dana.getByRole("combobox", { name: /^Find/ });
  await field.waitFor();
  await dana.keyboard.type("storefr");
  await gaveBack(dana, pill, field);
  await dana.keyboard.press("?");
  const shortcuts = dana.getByRole("dialog", { name: "Keyboard shortcuts" });
  await trapped(dana, shortcuts);
  await gaveBack(dana, pill, shortcuts);
});

test("every page can be walked from end to end at two widths, with the focus in sight", async (t) => {
  const deployment = (await admin.get("/deployments?app=storefront")).items[0].id;
  const change = (await admin.get("/changes?subject=storefront")).items[0].id;
  const state = await dana.context().storageState();
  for (const width of [360, 1280]) {
    const page = await open(browser, flywheel.url, { state, width, height: 780 });
    for (const path of ["/", "/apps", "/apps/new", "/apps/storefront", "/apps/storefront/variables", "/changes", `/changes/${change}`, "/deployments", `/deployments/${deployment}`, "/stories", "/patterns", "/patterns/web-service", "/environments", "/teams", "/teams/shop", "/users", "/tokens", "/settings", "/docs/api", "/waivers", "/pattern-requests"]) {
      await t.test(`${path} at ${width} px`, async () => {
        await page.goto(path);
        await page.locator("h1").first().waitFor();
        await page.waitForFunction(() => !document.querySelector('[aria-label="Loading"]'));
        const names = [];
        do {
          await page.keyboard.press("Tab");
          const { name, wrong } = await focused(page);
          assert.ok(!wrong, `${name} ${wrong}`);
          names.push(name);
        } while (names.at(-1) !== "the page" && names.length < 200);
        assert.equal(names.at(-1), "the page", `the walk does not end: ${names.slice(-6)}`);
        for (let i = 0; i < Math.min(names.length - 1, 30); i++) { // and back, where what stays at the top could hide it
          await page.keyboard.press("Shift+Tab");
          const { name, wrong } = await focused(page);
          assert.ok(!wrong, `back: ${name} ${wrong}`);
        }
      });
    }
    await page.context().close();
  }
});

test("on a phone the menu takes the focus, goes where it says, and gives it back", async () => {
  const page = await open(browser, flywheel.url, { state: await dana.context().storageState(), width: 360, height: 780 });
  await page.goto("/apps");
  const button = page.getByRole("button", { name: "Menu" });
  await press(page, button);
  const drawer = page.getByRole("dialog");
  await trapped(page, drawer);
  await gaveBack(page, button, drawer);
  await page.keyboard.press("Enter");
  await press(page, drawer.getByRole("link", { name: "Patterns" }));
  await page.getByRole("heading", { name: "Patterns", level: 1 }).waitFor();
  await drawer.waitFor({ state: "detached" });
  await page.waitForFunction(() => document.activeElement?.id === "main");
  await page.context().close();
});
