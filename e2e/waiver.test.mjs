// A value outside its bounds, from the refusal to a granted waiver, by clicking: the team asks in the form,
// the Center of Excellence grants, and the change that was refused goes on by itself.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, choose, launch, look, open, signIn, tour } from "./browser.mjs";
import { password, person, populate, start } from "./flywheel.mjs";
import { patience } from "./patience.mjs";

const slow = { timeout: 6 * patience }; // the first build of an app on a busy machine
let flywheel, browser, admin, pattern;

before(async () => {
  flywheel = await start();
  browser = await launch();
  ({ admin, pattern } = await populate(flywheel));
  let detail;
  const deadline = Date.now() + slow.timeout;
  do {
    assert.ok(Date.now() < deadline, "the pattern is not in review");
    await new Promise((resolve) => setTimeout(resolve, 200));
    detail = await admin.get(`/changes/${pattern}`);
  } while (detail.change.state !== "review");
  for (const [name, discipline] of [["sam", "security"], ["olga", "operations"], ["devi", "development"]]) {
    await (await person(flywheel.url, name)).post(`/changes/${pattern}/approve`, { discipline, digest: detail.certification.digest, reason: "looked" });
  }
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

test("a team asks for a waiver in the form, the Center of Excellence grants it, and the form takes the value", async () => {
  const developer = await person(flywheel.url, "dana");
  const deadline = Date.now() + slow.timeout;
  while (!(await developer.get("/patterns/web-service")).recommended) {
    assert.ok(Date.now() < deadline, "the pattern is not published");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const { change } = await developer.post("/apps", { name: "storefront", team: "shop", pattern: "web-service" });
  const dana = await at("dana");
  await dana.goto(`/changes/${change}`);
  await dana.locator(".titles").getByText("Deployed", { exact: true }).waitFor(slow);

  await dana.goto("/apps/storefront/variables");
  const prod = dana.getByRole("region", { name: "prod" });
  await prod.getByLabel("instances").fill("11");
  await dana.getByRole("button", { name: "Ask for a waiver" }).click();
  const ask = dana.getByRole("dialog", { name: /Ask for prod\.instances = 11/ });
  await ask.getByLabel(/Why no value/).fill("Black Friday");
  await check(dana, "asking for a waiver");
  await look(dana, "asking-for-a-waiver");
  await ask.getByRole("button", { name: "Ask", exact: true }).click();
  await ask.waitFor({ state: "detached" });

  const sam = await at("sam");
  // Home says to whom may decide that somebody asks, and to who asked that it waits for others.
  await sam.getByRole("list", { name: "Waiting for you" }).getByRole("link", { name: /storefront prod\.instances = 11.*Decide/ }).click();
  await dana.goto("/");
  await dana.getByRole("list", { name: "Waiting for others" }).getByRole("link", { name: /storefront prod\.instances = 11/ }).waitFor();
  await sam.getByRole("list", { name: "Waivers" }).getByText("Black Friday").waitFor();
  await check(sam, "waivers");
  await sam.getByRole("button", { name: "Grant", exact: true }).click();
  const grant = sam.getByRole("dialog", { name: /Grant storefront prod\.instances = 11/ });
  await grant.getByLabel("Last day").fill(new Date(Date.now() + 30 * 86_400_000).toISOString().slice(0, 10));
  await check(sam, "granting a waiver");
  await grant.getByRole("button", { name: "Grant", exact: true }).click();
  await sam.getByRole("link", { name: "All", exact: true }).click();
  await sam.getByRole("list", { name: "Waivers" }).getByText("Granted").waitFor();
  await sam.getByRole("link", { name: "Ended" }).click();
  await sam.getByText("No waiver matches").waitFor();
  await sam.getByRole("link", { name: "Granted" }).click();
  await choose(sam, "Environment", "staging");
  await sam.getByText("No waiver matches").waitFor();
  await sam.goto("/waivers?environment=prod");
  await sam.getByRole("list", { name: "Waivers" }).getByText("Granted").waitFor();
  await tour(sam, "waivers");

  await dana.goto("/apps/storefront");
  await prod.getByRole("heading", { name: "Waivers" }).waitFor();
  await prod.getByText("instances = 11").waitFor();
  await dana.goto("/apps/storefront/variables");
  await prod.getByText(/waiver for/).first().waitFor();
  await prod.getByLabel("instances").fill("11");
  await dana.getByText("Variable lane").waitFor();
  await dana.getByText(/Accepted by sam until/).waitFor();
  await check(dana, "a value with a waiver");

  await sam.getByRole("button", { name: "Revoke" }).click();
  const revoke = sam.getByRole("dialog", { name: /Revoke storefront/ });
  await revoke.getByLabel("Why").fill("The sale is over");
  await revoke.getByRole("button", { name: "Revoke", exact: true }).click();
  await sam.getByRole("list", { name: "Waivers" }).getByText("Revoked").waitFor();
  for (const page of [dana, sam]) await page.context().close();
});
