// A whole story by clicking, from a pattern nobody has certified to an app that is changed, rolled back,
// mended and removed, with several people at their own browsers: what one decides shows at the others,
// who touch nothing. The pages are looked at with what it left.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, choose, launch, look, open, settled, signIn, tour } from "./browser.mjs";
import { clone, password, person, populate, start } from "./flywheel.mjs";
import { patience } from "./patience.mjs";

const slow = { timeout: 6 * patience }; // the first build of an app on a busy machine
let flywheel, browser, admin, pattern, dana, vera, shop, catalogue;

before(async () => {
  flywheel = await start();
  browser = await launch();
  ({ admin, pattern } = await populate(flywheel));
});
after(async () => {
  shop?.remove();
  catalogue?.remove();
  await browser?.close();
  await flywheel?.stop();
});

async function at(name) {
  const page = await open(browser, flywheel.url);
  await signIn(page, name, password);
  return page;
}

async function until(condition) {
  for (const deadline = Date.now() + patience; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 200))) {
    const found = await condition();
    if (found) return found;
  }
  throw new Error(`It never came: ${condition}`);
}

/** Presses a button of the page, and the one of the dialog that asks. */
async function press(page, label, { go = label, fill = {} } = {}) {
  await page.locator("main").getByRole("button", { name: label, exact: true }).first().click();
  const dialog = page.getByRole("dialog");
  for (const [field, text] of Object.entries(fill)) await dialog.getByLabel(field).fill(text);
  await dialog.getByRole("button", { name: go, exact: true }).click();
}

const manual = { "flywheel.yaml": (text) => text.replace("merge: auto", "merge: manual").replace(/command: "(go test [^"]*)"/, `command: "$1${[1, 2, 3, 4, 5, 6].map((i) => ` && echo line ${i} && sleep 0.5`).join("")}"`) };
const comment = (text) => ({ "main.go": (code) => `${code}\n// ${text}\n` });

/** Takes what README.md shows: a copy of shots/readme.png lies in docs/images. */
async function picture(from) {
  const page = await open(browser, flywheel.url, { width: 1360, height: 1000, scale: 2, state: await from.context().storageState() });
  await page.goto(from.url());
  await settled(page);
  await page.getByText("passed").first().waitFor();
  await page.screenshot({ path: new URL("shots/readme.png", import.meta.url).pathname });
  await page.context().close();
}

/** Waits until the head of a page shows a state; a change that ends otherwise fails with its reason. */
async function reach(page, word) {
  const head = page.locator(".titles");
  await head.getByText(word, { exact: true }).or(head.getByText(/^(Failed|Refused|Blocked|Held|Rolled back|Rejected)$/)).first().waitFor(slow);
  assert.ok(await head.getByText(word, { exact: true }).isVisible(), await page.locator("main").innerText());
}

test("three disciplines certify the pattern, each at their own browser, and see each other's decisions", async () => {
  const people = await Promise.all(["sam", "olga", "devi"].map(at));
  const [sam, olga, devi] = people;
  await Promise.all(people.map((page) => page.goto(`/changes/${pattern}`)));
  for (const page of people) await reach(page, "Review");

  await sam.getByLabel("Decide for security").fill("Providers and images are ours.");
  await sam.getByRole("button", { name: "Approve" }).click();
  // Nobody reloads: what one decides shows at the others.
  for (const page of [olga, devi]) await page.getByText("Sam Security approved").or(page.getByText("sam approved")).first().waitFor(slow);
  await sam.getByText("One person counts for one discipline").waitFor();

  await devi.getByLabel("Decide for development").fill("Reads well.");
  await look(devi, "deciding");
  await olga.getByRole("button", { name: "Approve" }).click();
  await devi.getByText("Olga Operations approved").or(devi.getByText("olga approved")).first().waitFor(slow);
  assert.equal(await devi.getByLabel("Decide for development").inputValue(), "Reads well.", "what was typed stays while others decide");
  await devi.getByRole("button", { name: "Approve" }).click();
  for (const page of people) await reach(page, "Published");

  await devi.goto("/patterns/web-service");
  await devi.getByText("Recommended").waitFor();
  for (const page of people) await page.context().close();
});

test("a developer creates an app from it and watches it reach prod", async () => {
  dana = await at("dana");
  vera = await at("vera");
  await vera.goto("/apps");
  await dana.goto("/");
  await dana.getByRole("link", { name: "Create an app" }).click();
  await dana.getByLabel("Name", { exact: true }).fill("Shop!");
  await dana.getByText(/Use 2 to 40 lower case letters/).waitFor();
  await dana.getByLabel("Name", { exact: true }).fill("storefront");
  await dana.getByLabel("Title").fill("Storefront");
  await look(dana, "creating");
  await dana.getByRole("button", { name: "Create the app" }).click();
  await dana.getByRole("heading", { name: /Create storefront/ }).waitFor(slow);
  await dana.getByRole("heading", { name: "Why this lane" }).waitFor(slow);
  // The other browser, which nobody touches, shows the app as soon as it is there.
  await vera.getByRole("link", { name: /storefront/ }).waitFor(slow);
  await reach(dana, "Deployed");
  await dana.getByText("Variable lane").waitFor();
  await dana.getByRole("link", { name: "storefront" }).first().click();
  await dana.getByRole("region", { name: "staging" }).getByText("Healthy").waitFor(slow);
  await dana.getByRole("region", { name: "prod" }).getByText("Healthy").waitFor(slow);
});

test("a variable outside its bounds is refused in the form, one inside shows its lane and deploys", async () => {
  await dana.goto("/apps/storefront/variables");
  const prod = dana.getByRole("region", { name: "prod" });
  await prod.getByLabel("instances").fill("40");
  await prod.getByText(/Allowed: .*10/).waitFor();
  assert.ok(await dana.getByRole("button", { name: /^Send/ }).isDisabled());
  await prod.getByLabel("instances").fill("3");
  await dana.getByText("Variable lane").waitFor();
  await dana.getByText(/prod\.instances .* → 3/i).waitFor();
  await check(dana, "variables");
  await look(dana, "changing");
  await dana.getByRole("button", { name: "Send 1 change" }).click();
  await dana.getByRole("heading", { name: "Set prod.instances to 3" }).waitFor(slow);
  await reach(dana, "Deployed");
  await dana.getByRole("heading", { name: "Plan" }).waitFor();
  await look(dana, "deployed");
});

test("a secret is set and never shown", async () => {
  await dana.goto("/apps/storefront");
  await dana.getByRole("region", { name: "staging" }).getByRole("button", { name: "Secrets" }).click();
  const dialog = dana.getByRole("dialog", { name: /Secrets of storefront/ });
  await dialog.getByLabel("Name").fill("PAYMENT_KEY");
  await dialog.getByLabel("Value", { exact: true }).fill("hunter2-hunter2");
  await check(dana, "secrets");
  await dialog.getByRole("button", { name: "Set the secret" }).click();
  await dialog.getByText("PAYMENT_KEY").waitFor();
  assert.equal(await dialog.getByLabel("Value", { exact: true }).inputValue(), "");
  assert.doesNotMatch(await dana.content(), /hunter2/);
  await dialog.getByRole("button", { name: "Redeploy now" }).waitFor();
  await check(dana, "secret-set");
  await dana.keyboard.press("Escape");
});

test("a roll back pins the environment, and the other browser sees it", async () => {
  await vera.goto("/apps/storefront");
  await dana.goto("/apps/storefront");
  const prod = dana.getByRole("region", { name: "prod" });
  await prod.getByRole("button", { name: "Roll back" }).click();
  await dana.getByRole("dialog", { name: /Roll back/ }).getByRole("button", { name: "Roll back" }).click();
  await dana.getByRole("heading", { name: /storefront in prod/ }).waitFor(slow);
  await reach(dana, "Succeeded");
  await vera.getByRole("region", { name: "prod" }).getByText(/Pinned/).waitFor(slow);
});

test("dana clones what she works on", async () => {
  const token = (await (await person(flywheel.url, "dana")).post("/tokens", { name: "git", scopes: ["read", "write", "admin"] })).secret;
  shop = clone(flywheel.url, token, "apps/storefront");
  catalogue = clone(flywheel.url, token, "patterns/web-service");
});

test("the log of a check streams while it runs, and a declared fix is merged by a person and passes the roll back", async () => {
  const broken = (await admin.get("/changes?subject=storefront&state=rolled_back")).items[0].id;
  const id = shop.push("careful", "Merge by hand", { ...manual, ...comment("careful") });
  for (const page of [dana, vera]) await page.goto(`/changes/${id}`);
  await dana.waitForFunction(() => [...document.querySelectorAll('[role="log"][aria-busy="true"]')].some((log) => log.textContent.includes("line 2")), undefined, slow);
  await reach(dana, "Ready");
  await dana.goto("/");
  const mine = dana.getByRole("list", { name: "Waiting for you" });
  await mine.getByRole("link", { name: /Merge by hand/ }).getByText("Merge", { exact: true }).waitFor();
  await mine.getByRole("link", { name: /Merge by hand/ }).click();
  await press(dana, "Declare a fix", { go: "Declare", fill: { "The change it fixes": broken } });
  await dana.locator(`.facts a[href="/changes/${broken}"]`).waitFor();
  await reach(dana, "Ready");
  await check(dana, "ready");
  await look(dana, "ready");
  assert.equal(await vera.locator("main").getByRole("button", { name: "Merge" }).count(), 0, "a viewer merges nothing");
  await press(dana, "Merge");
  for (const page of [dana, vera]) await reach(page, "Deployed");
  const timeline = vera.getByRole("list", { name: "Timeline" });
  for (const moment of ["dana opened", "tests passed", "Merged", "Deployed in staging", "Deployed in prod"]) await timeline.getByText(moment, { exact: true }).first().waitFor();
  await vera.goto("/apps/storefront");
  await vera.getByRole("region", { name: "prod" }).getByText("Healthy").waitFor();
  assert.equal(await vera.getByText(/Pinned/).count(), 0);
});

test("a change is closed with a reason, at both browsers", async () => {
  const id = shop.push("idle", "Do nothing much", comment("idle"));
  for (const page of [dana, vera]) await page.goto(`/changes/${id}`);
  await reach(dana, "Ready");
  await press(dana, "Close", { go: "Close the change", fill: { Reason: "Not needed after all." } });
  for (const page of [dana, vera]) await reach(page, "Closed");
  await vera.getByText("Not needed after all.").first().waitFor();
});

test("a pattern change is sent back, corrected and rejected, and what was typed outlives the session", async () => {
  const id = catalogue.push("more", "Allow twenty instances", { "pattern.yaml": (text) => text.replace("maximum: 10", "maximum: 20") });
  const [sam, olga] = await Promise.all(["sam", "olga"].map(at));
  await dana.goto(`/changes/${id}`);
  for (const page of [sam, olga]) {
    await page.getByRole("link", { name: /Allow twenty instances/ }).first().waitFor(slow);
    await page.getByText("Approve for").first().waitFor(slow);
    await page.goto(`/changes/${id}`);
    await reach(page, "Review");
  }
  assert.ok(await sam.getByRole("button", { name: "Request changes" }).isDisabled(), "asking for changes needs a reason");
  await sam.getByLabel("Decide for security").fill("Why twenty?");
  await check(sam, "deciding");
  await look(sam, "deciding-pattern");
  await picture(sam);
  await sam.getByRole("button", { name: "Request changes" }).click();
  for (const page of [sam, dana]) await reach(page, "Changes requested");
  await dana.getByText("Why twenty?").first().waitFor();
  await dana.goto("/");
  await dana.getByRole("list", { name: "Waiting for you" }).getByText("Correct", { exact: true }).waitFor();

  catalogue.push("more", "Allow twelve instances", { "pattern.yaml": (text) => text.replace("maximum: 10", "maximum: 12") });
  await dana.goto(`/changes/${id}`);
  await reach(olga, "Review");
  await olga.getByLabel("Decide for operations").fill("We have no room for twelve.");
  await olga.context().clearCookies();
  await olga.getByRole("button", { name: "Reject" }).click();
  const overlay = olga.getByRole("dialog", { name: "Your session has ended" });
  await overlay.getByLabel("Password", { exact: true }).fill(password);
  await overlay.getByRole("button", { name: "Sign in" }).click();
  // The rejection that was refused goes through by itself.
  for (const page of [olga, dana]) await reach(page, "Rejected");
  await dana.getByText("We have no room for twelve.").first().waitFor();
  for (const page of [sam, olga]) await page.context().close();
});

test("a deployment that waits is cancelled, a sick release goes back by itself, and its revert is merged", async () => {
  const id = shop.push("sick", "Answer nobody", { "main.go": (code) => code.replace('fmt.Fprintln(w, "ok")', 'if os.Getenv("DATA_DIR") != "" { time.Sleep(time.Minute) }; fmt.Fprintln(w, "ok")') });
  await dana.goto(`/changes/${id}`);
  await reach(dana, "Ready");
  await press(dana, "Merge");
  await until(async () => (await admin.get(`/deployments?change=${id}&state=running`)).items[0]);
  await vera.goto("/apps/storefront");
  await dana.goto("/apps/storefront");
  await dana.getByRole("region", { name: "staging" }).getByRole("button", { name: "Redeploy" }).click();
  await dana.getByRole("dialog").getByRole("button", { name: "Redeploy" }).click();
  await dana.getByText("storefront is being deployed in staging.").waitFor();
  // It waits for the one that runs; the other browser shows it too.
  await vera.getByRole("region", { name: "staging" }).getByRole("link", { name: /redeploy/ }).first().click();
  await dana.goto(vera.url());
  await press(dana, "Cancel", { go: "Ask it to stop" });
  for (const page of [dana, vera]) await reach(page, "Cancelled");
  await check(dana, "cancelled");
  await dana.goto(`/changes/${id}`);
  await reach(dana, "Rolled back");
  await dana.goto("/");
  await dana.getByRole("list", { name: "Waiting for you" }).getByRole("link", { name: /Revert "Answer nobody"/ }).click();
  await reach(dana, "Ready");
  await press(dana, "Merge");
  await reach(dana, "Deployed");
});

test("stories are written and found", async () => {
  await dana.goto("/stories");
  await dana.getByLabel("Title of a new story").fill("Shops near me");
  await dana.getByRole("button", { name: "Add the story" }).click();
  await dana.getByRole("link", { name: "Shops near me" }).waitFor();
  await dana.keyboard.press("Escape");
  await dana.locator("main").focus();
  await dana.keyboard.press("Control+k");
  await dana.getByRole("combobox", { name: /^Find/ }).fill("near me");
  await dana.getByRole("option", { name: /Shops near me/ }).waitFor();
  await dana.keyboard.press("Escape");
});

test("a viewer sees everything and is offered nothing", async () => {
  const deployment = (await admin.get("/deployments?app=storefront")).items[0].id;
  const change = (await admin.get("/changes?subject=storefront")).items[0].id;
  for (const path of ["/", "/apps", "/apps/storefront", "/changes", `/changes/${change}`, `/changes/${pattern}`, "/deployments", `/deployments/${deployment}`, "/stories"]) {
    await vera.goto(path);
    await settled(vera);
    const offered = await vera.locator("main").getByRole("button", { name: /approve|reject|release|merge|roll back|redeploy|secrets|close|cancel|declare|add the story|remove/i }).allInnerTexts();
    assert.deepEqual(offered, [], path);
    assert.equal(await vera.locator("main").getByRole("link", { name: /change variables|create an app/i }).count(), 0, path);
  }
  await vera.goto("/apps/new");
  await vera.getByText("You cannot create apps yet").waitFor();
  const hands = await person(flywheel.url, "vera");
  for (const path of ["/apps/storefront/environments/prod/redeploy", "/apps/storefront/environments/prod/rollback", "/apps/storefront/changes"]) {
    await assert.rejects(hands.post(path, {}), { status: 403 }, path);
  }
});

test("every page at three widths, light and dark", async (t) => {
  const deployments = (await admin.get("/deployments?app=storefront")).items;
  const changes = (await admin.get("/changes?subject=storefront")).items;
  const version = (await admin.get("/patterns/web-service")).recommended;
  const infrastructure = deployments.find(({ kind }) => kind === "infrastructure");
  const pages = {
    home: "/", apps: "/apps", "new-app": "/apps/new", app: "/apps/storefront", variables: "/apps/storefront/variables",
    changes: "/changes", change: `/changes/${changes[0].id}`, "change-rolled-back": `/changes/${changes.find(({ state }) => state === "rolled_back").id}`, "change-of-pattern": `/changes/${pattern}`,
    deployments: "/deployments?state=succeeded", deployment: `/deployments/${deployments[0].id}`, "deployment-with-plan": `/deployments/${infrastructure.id}`,
    patterns: "/patterns", pattern: "/patterns/web-service", version: `/patterns/web-service/${version}`, stories: "/stories",
  };
  const state = await dana.context().storageState();
  const page = await open(browser, flywheel.url, { state });
  for (const [name, path] of Object.entries(pages)) {
    await t.test(name, async () => {
      await page.goto(path);
      await settled(page);
      await tour(page, name);
    });
  }
  await page.context().close();
});

test("an instance is deployed again", async () => {
  await dana.goto("/apps/storefront");
  await vera.goto("/apps/storefront");
  const before = (await admin.get("/deployments?app=storefront&environment=staging")).items.length;
  await dana.getByRole("region", { name: "staging" }).getByRole("button", { name: "Redeploy" }).click();
  await dana.getByRole("dialog").getByRole("button", { name: "Redeploy" }).click();
  const again = await until(async () => (await admin.get("/deployments?app=storefront&environment=staging&state=succeeded")).items.find(({ trigger }) => trigger === "redeploy"));
  assert.ok((await admin.get("/deployments?app=storefront&environment=staging")).items.length > before);
  await vera.getByRole("region", { name: "staging" }).getByRole("link", { name: new RegExp(`#${again.number} redeploy`) }).waitFor();
});

test("an app is given to another team, and back", async () => {
  await admin.post("/teams", { name: "till", title: "Till" });
  await admin.put("/teams/shop/members/dana", { role: "owner" });
  await admin.put("/teams/till/members/dana", { role: "operator" });
  await vera.goto("/apps/storefront");
  await dana.goto("/apps/storefront");
  for (const team of ["till", "shop"]) {
    if (team === "shop") await admin.put("/teams/till/members/dana", { role: "owner" });
    await dana.reload();
    await dana.getByRole("button", { name: "More", exact: true }).click();
    await dana.getByRole("menuitem", { name: "Give to another team" }).click();
    await choose(dana, "Team", team);
    await check(dana, "giving");
    await look(dana, "giving");
    await dana.getByRole("dialog").getByRole("button", { name: "Give it" }).click();
    await dana.getByText(`Team ${team}`, { exact: true }).waitFor();
    await vera.reload(); // she sees the shop's apps only
    await (team === "till" ? vera.getByText(/There is no app "storefront"/) : vera.getByRole("region", { name: "prod" })).waitFor();
  }
});

test("an environment and then the app are removed, each after an operator released what is held", async () => {
  await dana.goto("/apps/storefront");
  await dana.getByRole("button", { name: "More for prod" }).click();
  await dana.getByRole("menuitem", { name: "Remove from prod" }).click();
  const dialog = dana.getByRole("dialog");
  assert.ok(await dialog.getByRole("button", { name: "Open the change" }).isDisabled(), "the name has to be typed");
  await dialog.getByRole("textbox").fill("storefront");
  await dialog.getByRole("button", { name: "Open the change" }).click();
  await dana.getByRole("heading", { name: "Remove storefront from prod" }).waitFor();
  await reach(dana, "Held");
  await vera.goto(dana.url());
  await reach(vera, "Held");
  assert.equal(await vera.locator("main").getByRole("button", { name: "Release" }).count(), 0, "a viewer releases nothing");
  await look(dana, "held");
  await check(dana, "held");
  // It destroys something in production, and she asked for it: somebody else releases it.
  await press(dana, "Release");
  await dana.getByRole("dialog").getByText("somebody else must release it").waitFor();
  await look(dana, "own-change");
  await check(dana, "own-change");
  const olga = await at("olga");
  await olga.goto(dana.url());
  await press(olga, "Release");
  await olga.context().close();
  await dana.reload();
  await dana.locator(".titles").getByText("Deployed", { exact: true }).or(dana.getByRole("link", { name: /^Deployment #/ })).first().waitFor(slow);
  await release("olga");
  for (const page of [dana, vera]) await reach(page, "Deployed");

  await dana.goto("/apps/storefront");
  await dana.getByRole("region", { name: "prod" }).waitFor({ state: "detached" });
  await dana.getByRole("button", { name: "More", exact: true }).click();
  await dana.getByRole("menuitem", { name: "Remove the app" }).click();
  await dana.getByRole("dialog").getByRole("textbox").fill("storefront");
  await dana.getByRole("dialog").getByRole("button", { name: "Open the change" }).click();
  await reach(dana, "Held");
  await press(dana, "Release");
  await release("dana");
  await reach(dana, "Deployed");
  await dana.goto("/apps");
  await dana.getByRole("link", { name: /^storefront/ }).waitFor({ state: "detached" });
});

/** Releases the deployment that is held for more than the change showed, if there is one. */
async function release(who) {
  const change = dana.url().split("/").at(-1);
  await until(async () => {
    const held = (await admin.get(`/deployments?change=${change}&state=held`)).items[0];
    if (held) {
      const page = await at(who);
      await page.goto(`/deployments/${held.id}`);
      await press(page, "Release");
      await page.context().close();
    }
    return held || (await admin.get(`/changes/${change}`)).change.state === "deployed";
  });
}

test("a list of 10,000 rows scrolls to its end with a handful of them in the page", async () => {
  const hands = await person(flywheel.url, "dana");
  let next = 0;
  const write = async () => {
    while (next < 10_000) await hands.post("/stories", { title: `Story of the long list ${++next}`, team: "shop" });
  };
  await Promise.all(Array.from({ length: 16 }, write));
  await dana.goto("/stories");
  await settled(dana);
  const most = await dana.evaluate(async () => {
    let most = 0;
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
      window.scrollTo(0, document.documentElement.scrollHeight);
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const rows = document.querySelectorAll('[aria-label="Stories"] > li');
      most = Math.max(most, rows.length);
      if ([...rows].some((row) => row.getAttribute("aria-posinset") === row.getAttribute("aria-setsize"))) return most;
    }
    throw new Error("the end was not reached in a minute");
  });
  assert.ok(most > 5 && most < 120, `${most} rows stood in the page`);
  await check(dana, "the end of a long list");
});
