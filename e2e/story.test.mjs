// A whole story by clicking, from a pattern nobody has certified to an app that is changed and rolled
// back, with several people at their own browsers. The pages are then looked at with what it left.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, launch, look, open, settled, signIn } from "./browser.mjs";
import { addPattern, password, person, populate, start } from "./flywheel.mjs";

const slow = { timeout: 240_000 }; // the first build of an app on a busy machine
let flywheel, browser, admin, pattern, dana, vera;

before(async () => {
  flywheel = await start();
  browser = await launch();
  admin = await person(flywheel.url, "admin", flywheel.secret);
  await populate(admin);
  pattern = await addPattern(admin);
});
after(async () => {
  await browser?.close();
  await flywheel?.stop();
});

async function at(name) {
  const page = await open(browser, flywheel.url);
  await signIn(page, name, password);
  return page;
}

/** Waits until the head of a page shows a state; a change that ends otherwise fails with its reason. */
async function reach(page, word) {
  const head = page.locator(".titles");
  await head.getByText(word, { exact: true }).or(head.getByText(/^(Failed|Refused|Blocked|Rolled back|Rejected)$/)).first().waitFor(slow);
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
      for (const [width, height] of [[360, 780], [1280, 900], [2560, 1200]]) {
        await page.setViewportSize({ width, height });
        for (const scheme of ["light", "dark"]) {
          await page.emulateMedia({ colorScheme: scheme });
          await check(page, `${name} at ${width} px, ${scheme}`);
          await look(page, `${name}-${width}-${scheme}`);
        }
      }
    });
  }
  await page.context().close();
});
