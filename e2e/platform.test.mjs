// The platform itself by clicking: people, teams, tokens, environments, requests, patterns and the audit
// log, on a Flywheel that begins empty.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { check, choose, launch, look, open, settled, signIn, tour } from "./browser.mjs";
import { examples, password, person, start } from "./flywheel.mjs";

let flywheel, browser, admin;
const secrets = {};
before(async () => {
  flywheel = await start();
  browser = await launch();
  admin = await open(browser, flywheel.url);
  await signIn(admin, "admin", flywheel.secret);
});
after(async () => {
  await browser?.close();
  await flywheel?.stop();
});

async function at(name) {
  const page = await open(browser, flywheel.url);
  await signIn(page, name, secrets[name]);
  return page;
}

async function add(name, title, discipline) {
  await admin.getByRole("button", { name: "Add a person" }).click();
  const dialog = admin.getByRole("dialog", { name: "Add a person" });
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByLabel("Full name").fill(title);
  if (discipline) await dialog.getByLabel(discipline, { exact: true }).check();
  await check(admin, "adding a person");
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  const once = admin.getByRole("dialog", { name: `The password of ${name}` });
  secrets[name] = await once.getByLabel("The secret").innerText();
  await check(admin, "a password shown once");
  await look(admin, "once");
  await once.getByRole("button", { name: "I have it" }).click();
  await admin.getByRole("list", { name: "People" }).getByText(title).waitFor();
}

test("an admin adds people, and each signs in with the password that was shown once", async () => {
  await admin.goto("/users");
  await add("dana", "Dana Developer");
  await add("sam", "Sam Security", "Security");
  await add("vera", "Vera Viewer");
  // The name is taken: the form says it and keeps what was typed.
  await admin.getByRole("button", { name: "Add a person" }).click();
  const dialog = admin.getByRole("dialog", { name: "Add a person" });
  await dialog.getByLabel("Name", { exact: true }).fill("dana");
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  await dialog.getByRole("alert").getByText(/Request/).waitFor();
  assert.equal(await dialog.getByLabel("Name", { exact: true }).inputValue(), "dana");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await admin.getByRole("navigation", { name: "Which" }).getByText("Center of Excellence").click();
  await admin.getByText("Dana Developer").waitFor({ state: "detached" });
  assert.match(admin.url(), /show=coe/);
  assert.doesNotMatch(await admin.content(), new RegExp(secrets.dana));
  await (await at("dana")).context().close();
});

test("an admin makes a team, puts people into it, and an owner gives out roles", async () => {
  await admin.goto("/teams");
  await admin.getByText("No team yet").waitFor();
  await admin.getByRole("button", { name: "Make a team" }).click();
  const dialog = admin.getByRole("dialog", { name: "Make a team" });
  await dialog.getByLabel("Name", { exact: true }).fill("shop");
  await dialog.getByLabel("Title").fill("Web shop");
  await dialog.getByRole("button", { name: "Make it" }).click();
  await admin.getByRole("heading", { name: "Web shop" }).waitFor();
  for (const [name, title, role] of [["dana", "Dana Developer (dana)", "Owner"], ["vera", "Vera Viewer (vera)", "Viewer"]]) {
    await choose(admin, "Person", title);
    await choose(admin, "Role", role);
    await admin.getByRole("button", { name: "Add", exact: true }).click();
    await admin.getByRole("list", { name: "Members" }).getByText(name, { exact: true }).waitFor();
  }
  const dana = await at("dana");
  await dana.goto("/teams/shop");
  await settled(dana);
  await check(dana, "team");
  await choose(dana, "Role of vera", "Developer");
  // The admin's page, which nobody touches, shows it.
  await admin.waitForFunction(() => [...document.querySelectorAll("input")].some((input) => input.getAttribute("aria-label") === "Role of vera" && input.value === "Developer"));
  await choose(dana, "Role of vera", "Viewer");
  await dana.getByRole("button", { name: "Take vera out of the team" }).click();
  await dana.getByRole("dialog").getByRole("button", { name: "Take out" }).click();
  await dana.getByRole("list", { name: "Members" }).getByText("vera", { exact: true }).waitFor({ state: "detached" });
  assert.equal(await dana.getByRole("button", { name: "Delete" }).count(), 0, "an owner does not delete teams");
  await dana.context().close();
});

test("a person's rights are changed, and one who is deactivated is out at once", async () => {
  const vera = await at("vera");
  await admin.goto("/users/vera");
  await admin.getByLabel("Operations", { exact: true }).check();
  await admin.getByRole("button", { name: "Save" }).click();
  await admin.locator(".titles").getByText("Operations").waitFor();
  await check(admin, "person");
  await admin.getByRole("button", { name: "New password" }).click();
  await admin.getByRole("dialog").getByRole("button", { name: "Make a password" }).click();
  secrets.vera = await admin.getByLabel("The secret").innerText();
  await admin.getByRole("button", { name: "I have it" }).click();
  await admin.getByRole("button", { name: "Deactivate" }).click();
  await admin.getByRole("dialog").getByRole("button", { name: "Deactivate" }).click();
  await admin.locator(".titles").getByText("Deactivated").waitFor();
  await vera.goto("/apps");
  await vera.getByRole("heading", { name: "Sign in to Flywheel" }).waitFor();
  await admin.getByRole("button", { name: "Activate" }).click();
  await admin.getByRole("dialog").getByRole("button", { name: "Activate" }).click();
  await admin.locator(".titles").getByText("Deactivated").waitFor({ state: "detached" });
  await vera.context().close();
  await (await at("vera")).context().close();
});

test("a token is shown once, works, and is refused after it is revoked", async () => {
  const dana = await at("dana");
  await dana.goto("/tokens");
  await dana.getByText("No token").waitFor();
  await dana.getByRole("button", { name: "Make a token" }).click();
  const dialog = dana.getByRole("dialog", { name: "Make a token" });
  await dialog.getByLabel("What it is for").fill("laptop");
  await dialog.getByLabel("Read", { exact: true }).check();
  await choose(dana, "It ends", "in a week");
  await check(dana, "making a token");
  await look(dana, "making-token");
  await dialog.getByRole("button", { name: "Make it" }).click();
  const secret = await dana.getByLabel("The secret").innerText();
  await dana.getByRole("button", { name: "I have it" }).click();
  await dana.getByRole("list", { name: "Tokens" }).getByText("laptop").waitFor();
  assert.doesNotMatch(await dana.content(), new RegExp(secret));
  const ask = (method = "GET", path = "/apps") => fetch(`${flywheel.url}/api/v1${path}`, { method, headers: { Authorization: `Bearer ${secret}`, "Content-Type": "application/json" }, body: method === "GET" ? undefined : '{"title":"x","team":"shop"}' });
  assert.equal((await ask()).status, 200);
  assert.equal((await ask("POST", "/stories")).status, 403);
  await dana.getByRole("button", { name: "Revoke" }).click();
  await dana.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await dana.getByText("No token").waitFor();
  assert.equal((await ask()).status, 401);
  await dana.context().close();
});

test("a person sees where they are signed in, and ends one session and then all others", async () => {
  const dana = await at("dana");
  const second = await at("dana");
  const third = await at("dana");
  await dana.goto("/settings");
  const list = dana.getByRole("list", { name: "Sessions" });
  await list.getByText("this one").waitFor();
  const before = await list.getByRole("listitem").count();
  assert.ok(before >= 3);
  await list.getByText(/on Linux/).first().waitFor();
  await check(dana, "sessions");
  await look(dana, "sessions");
  // The newest is the last: it is the third browser's.
  await list.getByRole("listitem").last().getByRole("button", { name: "End" }).click();
  await dana.getByRole("dialog").getByRole("button", { name: "End it" }).click();
  await dana.getByText("The session has ended.").waitFor();
  await third.goto("/settings");
  await third.getByRole("heading", { name: "Sign in to Flywheel" }).waitFor();
  await second.goto("/settings");
  await second.getByRole("list", { name: "Sessions" }).getByText("this one").waitFor();
  await dana.getByRole("button", { name: "End all others" }).click();
  await dana.getByRole("dialog").getByRole("button", { name: "End them" }).click();
  await dana.getByText("Your other sessions have ended.").waitFor();
  await dana.getByRole("button", { name: "End all others" }).waitFor({ state: "detached" }); // the list is fetched anew
  assert.equal(await list.getByRole("listitem").count(), 1);
  await second.goto("/settings");
  await second.getByRole("heading", { name: "Sign in to Flywheel" }).waitFor();
  for (const page of [dana, second, third]) await page.context().close();
});

test("a person changes their own password, and a wrong one is said at its field", async () => {
  const dana = await at("dana");
  const other = await at("dana");
  await dana.goto("/settings");
  await dana.getByLabel("Present password").fill("not it at all");
  await dana.getByLabel("New password", { exact: true }).fill(password);
  await dana.getByRole("button", { name: "Change the password" }).click();
  await dana.getByText("not right", { exact: true }).waitFor();
  await check(dana, "settings");
  await dana.getByLabel("Present password").fill(secrets.dana);
  await dana.getByRole("button", { name: "Change the password" }).click();
  await dana.getByText("Your password is changed.").waitFor();
  secrets.dana = password;
  await other.goto("/settings");
  await other.getByRole("heading", { name: "Sign in to Flywheel" }).waitFor();
  for (const page of [dana, other]) await page.context().close();
});

test("the Center of Excellence makes environments in their order and sets their values", async () => {
  const sam = await at("sam");
  await sam.goto("/environments");
  await sam.getByText("No environment yet").waitFor();
  await sam.getByRole("link", { name: "Make an environment" }).click();
  await sam.getByLabel("Name", { exact: true }).fill("staging");
  await sam.getByRole("button", { name: "Make the environment" }).click();
  await sam.getByRole("list", { name: "Environments" }).getByText("staging").first().waitFor();
  await sam.getByRole("link", { name: "Make an environment" }).click();
  await sam.getByLabel("Name", { exact: true }).fill("prod");
  await choose(sam, "Class", "production");
  assert.equal(await sam.getByLabel("Comes after", { exact: true }).locator("visible=true").first().inputValue(), "staging");
  await choose(sam, "When a newer deployment comes", "The newest replaces what waits");
  await sam.getByRole("button", { name: "Add a value" }).click();
  await sam.getByLabel("Name of value 1").locator("visible=true").first().fill("vpc_id");
  await sam.getByLabel("Value 1", { exact: true }).fill("vpc-1");
  await sam.getByRole("button", { name: "Add a value" }).click();
  await sam.getByLabel("Name of value 2").locator("visible=true").first().fill("zones");
  await sam.getByLabel("Value 2", { exact: true }).fill("3");
  await sam.getByRole("button", { name: "Add a freeze" }).click();
  await sam.getByLabel("Freeze 1 from").fill("2030-11-28T00:00");
  await sam.getByLabel("Freeze 1 until").fill("2030-11-27T00:00");
  await sam.getByText("Ends before it begins.").waitFor();
  await sam.getByLabel("Freeze 1 until").fill("2030-12-02T08:00");
  await sam.getByLabel("Reason of freeze 1").fill("The sale");
  await check(sam, "making an environment");
  await look(sam, "making-environment");
  await sam.getByRole("button", { name: "Make the environment" }).click();
  await sam.getByRole("link", { name: /prod/ }).waitFor();
  const made = (await (await person(flywheel.url, "dana", secrets.dana)).get("/environments")).items.find(({ name }) => name === "prod");
  assert.deepEqual({ class: made.class, after: made.after, onNewer: made.onNewer, values: made.values, freezes: made.freezes }, {
    class: "production", after: "staging", onNewer: "replace-pending", values: { vpc_id: "vpc-1", zones: 3 }, freezes: [{ from: "2030-11-28T00:00:00Z", until: "2030-12-02T08:00:00Z", reason: "The sale" }],
  });
  // Two edit the same: the second is told who was first, keeps what was typed until it is loaded anew, and
  // what the server holds is never written over.
  const other = await at("sam");
  await other.goto("/environments/prod");
  await other.getByLabel("Value 1", { exact: true }).fill("vpc-of-the-other");
  await (await person(flywheel.url, "sam", secrets.sam)).put("/environments/prod", { class: made.class, after: made.after, onNewer: made.onNewer, freezes: made.freezes, values: { ...made.values, zones: 2 } });
  await other.getByText(/sam changed this/).waitFor();
  await check(other, "changed meanwhile");
  await look(other, "changed-meanwhile");
  await other.getByRole("button", { name: "Save" }).click();
  await other.getByText(/Sam has changed this since you read it/).waitFor();
  assert.equal(await other.getByLabel("Value 1", { exact: true }).inputValue(), "vpc-of-the-other");
  await other.getByRole("button", { name: "Load it anew" }).click();
  assert.equal(await other.getByLabel("Value 1", { exact: true }).inputValue(), "vpc-1");
  await other.getByLabel("Value 2", { exact: true }).fill("4");
  await other.getByRole("button", { name: "Save" }).click();
  await other.getByRole("heading", { name: "Environments", level: 1 }).waitFor();
  await other.context().close();
  // A circle is refused with the sentence of the server.
  await sam.getByRole("link", { name: /staging/ }).first().click();
  await choose(sam, "Comes after", "prod");
  await sam.getByRole("button", { name: "Save" }).click();
  await sam.getByText(/is a circle/).waitFor();
  // Its secrets are set, and never shown again.
  await sam.goto("/environments/prod");
  await sam.getByText("None is set. Set the first below.").waitFor();
  for (const [name, value] of [["CLOUD_ID", "plant-the-first"], ["CLOUD_KEY", "plant-the-second"]]) {
    await sam.getByLabel("Name", { exact: true }).fill(name);
    await sam.getByLabel("Value", { exact: true }).fill(value);
    await sam.getByRole("button", { name: "Set the secret" }).click();
    await sam.getByRole("listitem").filter({ hasText: name }).getByText(/by sam/).waitFor();
  }
  await check(sam, "secrets of an environment");
  await look(sam, "secrets-of-an-environment");
  await sam.getByRole("button", { name: "Delete CLOUD_ID" }).click();
  await sam.getByRole("button", { name: "Delete it" }).click();
  await sam.getByRole("listitem").filter({ hasText: "CLOUD_ID" }).waitFor({ state: "detached" });
  assert.doesNotMatch(await sam.content(), /plant-/);
  // Who may not keep environments sees them, but not which secrets they have.
  const dana = await at("dana");
  await dana.goto("/environments/prod");
  await dana.getByText("vpc-1").waitFor();
  assert.equal(await dana.getByText("CLOUD_KEY").count(), 0);
  await dana.getByText("from 2030-11-28 00:00 to 2030-12-02 08:00 UTC: The sale").waitFor();
  assert.equal(await dana.locator("main").getByRole("button").count(), 0);
  // One that another comes after is not deleted, and the last is.
  await sam.goto("/environments/staging");
  await sam.getByRole("button", { name: "Delete", exact: true }).click();
  await sam.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await sam.getByText("The environment prod comes after staging.").waitFor();
  await sam.goto("/environments/new");
  await sam.getByLabel("Name", { exact: true }).fill("porduction");
  await sam.getByRole("button", { name: "Make the environment" }).click();
  await sam.getByRole("link", { name: /porduction/ }).click();
  await sam.getByRole("button", { name: "Delete", exact: true }).click();
  await check(sam, "deleting an environment");
  await look(sam, "deleting-an-environment");
  await sam.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await sam.getByRole("heading", { name: "Environments", level: 1 }).waitFor();
  await sam.getByRole("link", { name: /porduction/ }).waitFor({ state: "detached" });
  for (const page of [sam, dana]) await page.context().close();
});

test("a developer asks for a pattern, and the Center of Excellence accepts, links and declines", async () => {
  const dana = await at("dana");
  await dana.goto("/pattern-requests");
  for (const title of ["Search near a place", "A mainframe"]) {
    await dana.getByRole("button", { name: "Ask for a pattern" }).click();
    const dialog = dana.getByRole("dialog");
    await dialog.getByLabel("What is needed").fill(title);
    await dialog.getByLabel("Why, and what it must do").fill("Shops **near me**, in under a second. <img src=x onerror='window.run=1'><script>window.run=1</script> [here](javascript:window.run=1)");
    await dialog.getByRole("button", { name: "Ask", exact: true }).click();
    await dana.getByRole("list", { name: "Requests" }).getByText(title).waitFor();
  }
  await dana.getByText("Search near a place").click();
  await dana.locator("strong", { hasText: "near me" }).waitFor();
  // Of what others write, only words and their marks are shown.
  assert.deepEqual(await dana.locator(".prose").first().evaluate((text) => [text.querySelectorAll("img, script, [href^='javascript']").length, window.run]), [0, undefined]);
  assert.equal(await dana.getByRole("button", { name: /Accept|Decline/ }).count(), 0, "who asks does not answer");

  const sam = await at("sam");
  await sam.goto("/pattern-requests?state=open");
  await sam.getByText("A mainframe").click();
  await sam.getByRole("button", { name: "Decline" }).click();
  const dialog = sam.getByRole("dialog");
  assert.ok(await dialog.getByRole("button", { name: "Decline" }).isDisabled(), "declining needs a reason");
  await dialog.getByLabel("Why").fill("We have none.");
  await dialog.getByRole("button", { name: "Decline" }).click();
  await sam.getByText("Search near a place").click();
  await sam.getByRole("button", { name: "Accept" }).click();
  await sam.getByRole("dialog").getByRole("button", { name: "Accept" }).click();
  await sam.getByText("No request is in that state").waitFor();
  await sam.getByRole("link", { name: "Accepted" }).click();
  await sam.getByText("Search near a place").click();
  await sam.getByRole("button", { name: "Link a change" }).waitFor();
  await check(sam, "requests");
  await look(sam, "requests");
  // Dana's page shows both answers without being touched.
  await dana.getByText("Accepted").nth(1).waitFor();
  await dana.getByText("Declined").nth(1).waitFor();
  for (const page of [sam, dana]) await page.context().close();
});

test("a pattern is created from a folder and leads to its certification, whose change a request is linked to", async () => {
  const sam = await at("sam");
  await sam.goto("/patterns");
  await sam.getByText("The catalogue is empty").waitFor();
  await sam.getByRole("link", { name: "Create a pattern" }).first().click();
  await sam.getByLabel("Folder of the pattern").setInputFiles(`${examples}patterns/web-service`);
  await sam.getByText("pattern.yaml is valid.").waitFor();
  assert.equal(await sam.getByLabel("Name", { exact: true }).inputValue(), "web-service");
  await check(sam, "creating a pattern");
  await look(sam, "creating-pattern");
  await sam.getByRole("button", { name: "Create the pattern" }).click();
  await sam.getByRole("heading", { name: /web-service/i, level: 1 }).waitFor();
  await sam.waitForURL(/\/changes\/chg_/);
  const change = sam.url().split("/").at(-1);
  await sam.goto("/pattern-requests?state=accepted");
  await sam.getByText("Search near a place").click();
  await sam.getByRole("button", { name: "Link a change" }).click();
  await choose(sam, "Pattern change", "web-service: Add web-service");
  await sam.getByRole("dialog").getByRole("button", { name: "Link a change" }).click();
  await sam.goto("/pattern-requests?state=developing");
  await sam.getByText("Search near a place").click();
  await sam.getByRole("link", { name: change }).waitFor();
  await sam.context().close();
});

test("each page of the platform at three widths, light and dark", async (t) => {
  const page = await open(browser, flywheel.url, { state: await admin.context().storageState() });
  for (const path of ["/users", "/users/dana", "/teams", "/teams/shop", "/tokens", "/settings", "/environments", "/environments/new", "/environments/prod", "/pattern-requests", "/waivers", "/patterns", "/patterns/new", "/audit", "/docs/api"]) {
    await t.test(path, async () => {
      await page.goto(path);
      await settled(page);
      await tour(page, `platform${path.replaceAll("/", "-")}`);
    });
  }
  await page.context().close();
});

test("the reference of the API is served by Flywheel itself, and its lines work at a terminal", async () => {
  const page = await open(browser, flywheel.url, { state: await admin.context().storageState() });
  const strangers = [];
  page.on("request", (request) => new URL(request.url()).origin === new URL(flywheel.url).origin || request.url().startsWith("data:") || strangers.push(request.url()));
  await page.goto("/");
  await settled(page);
  await page.getByRole("button", { name: "admin" }).click();
  await page.getByRole("menuitem", { name: "API" }).click();
  await page.getByRole("heading", { name: "API", level: 1 }).waitFor();
  const described = await (await fetch(`${flywheel.url}/openapi.json`)).json();
  const count = Object.values(described.paths).reduce((sum, methods) => sum + Object.keys(methods).length, 0);
  await page.getByText(`${count} operations`).waitFor();
  assert.equal(await page.locator("details").count(), count);
  await page.getByLabel("Find an operation").fill("story create");
  await page.waitForURL(/q=story\+create|q=story%20create/);
  await page.getByText("1 operation", { exact: true }).waitFor();
  await page.locator("#create-story summary").click();
  await page.locator("#create-story").getByRole("group", { name: "Body" }).getByText("title", { exact: true }).waitFor();
  await check(page, "an operation", { colours: true });
  await look(page, "api-operation");
  await page.locator("#create-story").getByRole("link", { name: "Address of this operation" }).click();
  await page.waitForURL(/#create-story$/);

  // The address leads back to it, opened, and the line beside it does what it says.
  await page.goto("/docs/api#list-teams");
  const line = await page.locator("#list-teams").getByLabel("at the terminal", { exact: false }).innerText();
  const hands = await person(flywheel.url, "admin", flywheel.secret);
  const { secret } = await hands.post("/tokens", { name: "terminal", scopes: ["read"] });
  const { stdout } = await promisify(execFile)("bash", ["-c", line.replace(/^curl/, "curl -sf")], { env: { PATH: process.env.PATH, FLYWHEEL_TOKEN: secret } });
  assert.deepEqual(JSON.parse(stdout).items.map(({ name }) => name), ["shop"]);
  assert.deepEqual(strangers, [], "nothing is loaded from elsewhere");
  await page.context().close();
});

test("the audit log is filtered in its address, read on by cursor, and verified", async () => {
  const hands = await person(flywheel.url, "dana", secrets.dana);
  for (let i = 0; i < 130; i++) await hands.post("/tokens", { name: `t${i}`, scopes: ["read"] });
  await admin.goto("/audit");
  await admin.getByRole("button", { name: "Verify" }).click();
  await admin.getByText(/each as it was written/).waitFor();
  await check(admin, "audit");
  await look(admin, "audit");
  // What was kept of it is compared the next time; what is not it is said at the field.
  const kept = /(\d+:[0-9a-f]+): click to copy/.exec(await admin.locator(".note .id").getAttribute("title"))[1];
  await admin.getByLabel("What was kept").fill("9");
  await admin.getByText("A number and a hash", { exact: false }).waitFor();
  await admin.getByLabel("What was kept").fill(kept);
  await admin.getByRole("button", { name: "Verify" }).click();
  await admin.getByText(/What was kept is still in it/).waitFor();
  await admin.getByLabel("What was kept").fill(kept.replace(/.$/, (digit) => (digit === "0" ? "1" : "0")));
  await admin.getByRole("button", { name: "Verify" }).click();
  await admin.getByText(/is not as it was written/).waitFor();
  await check(admin, "audit written anew");
  await admin.getByLabel("Person").fill("dana");
  await admin.waitForURL(/person=dana/);
  await admin.getByLabel("Action").fill("token");
  await admin.waitForURL(/action=token/);
  await admin.getByText("t129", { exact: false }).first().waitFor();
  assert.equal(await admin.getByText("user.create").count(), 0);
  const list = admin.getByRole("list", { name: "Decisions" });
  for (let i = 0; i < 60 && !(await list.getByText(/laptop/).count()); i++) await admin.mouse.wheel(0, 4000), await admin.evaluate(() => new Promise(requestAnimationFrame));
  await list.getByText(/laptop/).first().waitFor();
  await admin.reload();
  await settled(admin);
  assert.equal(await admin.getByLabel("Person").inputValue(), "dana");
  const vera = await at("dana");
  await vera.goto("/audit");
  await vera.getByText("The audit log is not yours to see").waitFor();
  assert.equal(await vera.getByRole("link", { name: "Audit log" }).count(), 0);
  await vera.context().close();
});
