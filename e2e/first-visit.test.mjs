// An empty Flywheel: signing in, what to do first, and what the pages do when something is wrong.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, launch, look, open, settled, signIn } from "./browser.mjs";
import { person, start } from "./flywheel.mjs";

let flywheel, browser;
before(async () => {
  flywheel = await start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await flywheel?.stop();
});

test("a wrong password is said in the form, and what was typed stays", async () => {
  const page = await open(browser, flywheel.url);
  await page.goto("/apps");
  await page.getByLabel("Name").fill("admin");
  await page.getByLabel("Password", { exact: true }).fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByLabel("Name").inputValue(), "admin");
  await check(page, "sign-in");
  await look(page, "sign-in-wrong");
  await page.context().close();
});

test("the pages' scripts come only from files of their own", async () => {
  const answer = await fetch(flywheel.url);
  const policy = answer.headers.get("content-security-policy");
  assert.match(policy, /script-src 'self';/);
  assert.doesNotMatch(await answer.text(), /<script(?![^>]*\bsrc=)/);
});

test("home loads at most 300 kB of compressed script", async () => {
  const page = await open(browser, flywheel.url);
  await signIn(page, "admin", flywheel.secret);
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
  const scripts = new Map();
  cdp.on("Network.responseReceived", ({ requestId, type }) => type === "Script" && scripts.set(requestId, 0));
  cdp.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => scripts.has(requestId) && scripts.set(requestId, encodedDataLength));
  await page.reload();
  await settled(page);
  const bytes = [...scripts.values()].reduce((sum, one) => sum + one, 0);
  assert.ok(bytes > 50_000 && bytes <= 300_000, `home loaded ${bytes} bytes of script`);
  await page.context().close();
});

for (const [width, scheme] of [[360, "light"], [1280, "dark"], [2560, "light"]]) {
  test(`empty pages say how to fill them, at ${width} px, ${scheme}`, async () => {
    const page = await open(browser, flywheel.url, { width, scheme, height: width < 500 ? 780 : 1000 });
    await page.goto("/");
    await page.getByLabel("Name").waitFor();
    await check(page, "sign-in");
    await look(page, `empty-sign-in-${width}-${scheme}`);
    await signIn(page, "admin", flywheel.secret);
    for (const path of ["/", "/apps", "/apps/new", "/changes", "/deployments", "/patterns", "/stories", "/nowhere", "/apps/nobody", "/changes/chg_none"]) {
      await page.goto(path);
      await settled(page);
      const name = `empty${path.replaceAll("/", "-")}-${width}-${scheme}`;
      await check(page, name);
      await look(page, name);
    }
    await page.goto("/");
    await page.getByText("Three steps to the first deployment").waitFor();
    await page.context().close();
  });
}

test("keys go anywhere: the palette, the shortcuts, g and a letter", async () => {
  const page = await open(browser, flywheel.url);
  await signIn(page, "admin", flywheel.secret);
  await page.keyboard.press("g");
  await page.keyboard.press("p");
  await page.getByRole("heading", { name: "Patterns", level: 1 }).waitFor();
  await page.keyboard.press("Control+k");
  const field = page.getByRole("combobox", { name: /^Find/ });
  await field.fill("deploy");
  await check(page, "palette");
  await look(page, "palette");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Deployments", level: 1 }).waitFor();
  for (const [typed, title] of [["environ", "Environments"], ["audit", "Audit log"], ["people", "People"], ["teams", "Teams"], ["tokens", "Tokens"], ["requests", "Pattern requests"], ["create a pattern", "Create a pattern"], ["password", "Settings"]]) {
    await page.keyboard.press("Control+k");
    await field.fill(typed);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: title, level: 1 }).waitFor();
  }
  await page.locator("main").focus();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).getByText("Go to environments").waitFor();
  await check(page, "shortcuts");
  await look(page, "shortcuts");
  await page.keyboard.press("Escape");
  await page.context().close();
});

test("a session that ends loses nothing typed", async () => {
  const admin = await person(flywheel.url, "admin", flywheel.secret);
  await admin.post("/teams", { name: "ops", title: "Operations" });
  const page = await open(browser, flywheel.url);
  await signIn(page, "admin", flywheel.secret);
  await page.goto("/stories");
  await page.getByLabel("Title of a new story").fill("The overlay keeps this sentence");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Add the story" }).click();
  const overlay = page.getByRole("dialog", { name: "Your session has ended" });
  await overlay.waitFor();
  await check(page, "session-ended");
  await look(page, "session-ended");
  await overlay.getByLabel("Password", { exact: true }).fill(flywheel.secret);
  await overlay.getByRole("button", { name: "Sign in" }).click();
  // The request that was refused goes through by itself.
  await page.getByRole("list", { name: "Stories" }).getByText("The overlay keeps this sentence").waitFor();
  await page.context().close();
});

test("what fails is said with the way out and the request's id", async () => {
  const page = await open(browser, flywheel.url);
  await signIn(page, "admin", flywheel.secret);
  await page.goto("/changes/chg_none");
  const alert = page.getByRole("alert");
  await alert.getByText(/Request/).waitFor();
  assert.match(await alert.innerText(), /req_/);
  await page.context().close();
});
