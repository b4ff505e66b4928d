// A built Flywheel with a fresh database and its people, for browsers to use.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { patience } from "./patience.mjs";

const binary = resolve(process.env.FLYWHEEL ?? new URL("../bin/flywheel", import.meta.url).pathname);
export const examples = new URL("../examples/", import.meta.url).pathname;
export const password = "correct horse battery staple";

/** Starts Flywheel on a free port. Its folder goes with it. */
export async function start() {
  assert.ok(existsSync(binary), `There is no ${binary}: run make build.`);
  const folder = mkdtempSync(join(tmpdir(), "flywheel-e2e-"));
  // serve would start the agent as a process that outlives it; here it is a child of the test, as an
  // init system has it, so that nothing is left behind.
  const agent = spawn(binary, ["agent", "--data", join(folder, "agent")], { stdio: "ignore" });
  await until(() => existsSync(join(folder, "agent", "agent.sock")), "the agent to listen");
  const server = spawn(binary, ["serve", "--data", folder, "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "pipe"] });
  // The runner ends a file that takes too long with this signal.
  process.once("SIGTERM", () => {
    server.kill("SIGKILL");
    agent.kill("SIGTERM");
    process.exit(1);
  });
  let said = "";
  const found = await new Promise((resolve, reject) => {
    const hear = (part) => {
      said += part;
      const url = /ready at (http:\S+)/.exec(said)?.[1];
      const secret = /admin with the password (\S+)/.exec(said)?.[1];
      if (url && secret) resolve({ url, secret });
    };
    server.stdout.on("data", hear);
    server.stderr.on("data", hear);
    server.on("exit", (code) => reject(new Error(`flywheel serve ended with ${code}: ${said}`)));
    setTimeout(() => reject(new Error(`flywheel serve is not ready: ${said}`)), patience).unref();
  });
  return {
    ...found,
    log: () => said,
    async stop() {
      await end(server);
      await end(agent);
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 });
    },
  };
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  await ended;
  clearTimeout(timer);
}

async function until(condition, what) {
  const deadline = Date.now() + patience;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`It never came: ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The API as one person uses it. */
export async function person(base, name, secret = password) {
  let cookie = "";
  const call = async (method, path, body) => {
    const answer = await fetch(`${base}/api/v1${path}`, { method, headers: { "Content-Type": "application/json", Cookie: cookie }, body: body === undefined ? undefined : JSON.stringify(body) });
    cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    const text = await answer.text();
    if (!answer.ok) throw Object.assign(new Error(`${method} ${path}: ${text}`), { status: answer.status });
    return text ? JSON.parse(text) : undefined;
  };
  await call("POST", "/session", { name, password: secret });
  return { get: (path) => call("GET", path), post: (path, body) => call("POST", path, body), put: (path, body) => call("PUT", path, body) };
}

/** A team with a developer who operates, one who only looks, the Center of Excellence, two environments, and the
 *  example pattern in the catalogue. Returns the admin's hands and the change that is to be certified. */
export async function populate(flywheel) {
  const admin = await person(flywheel.url, "admin", flywheel.secret);
  await admin.post("/teams", { name: "shop", title: "Web shop" });
  const people = [["dana", "Dana Developer"], ["vera", "Vera Viewer"], ["sam", "Sam Security", "security"], ["olga", "Olga Operations", "operations"], ["devi", "Devi Development", "development"]];
  for (const [name, title, discipline] of people) await admin.post("/users", { name, title, password, ...(discipline ? { disciplines: [discipline] } : {}) });
  await admin.put("/teams/shop/members/dana", { role: "operator" });
  await admin.put("/teams/shop/members/vera", { role: "viewer" });
  await admin.post("/environments", { name: "staging", class: "staging" });
  await admin.post("/environments", { name: "prod", class: "production", after: "staging" });
  return { admin, pattern: await addPattern(admin) };
}

async function addPattern(admin) {
  const root = join(examples, "patterns/web-service");
  const files = Object.fromEntries(walk(root).map((path) => [relative(root, path).replace(/\.skeleton$/, ""), readFileSync(path, "utf8")]));
  return (await admin.post("/patterns", { name: "web-service", title: "Web service", files })).change;
}

function walk(folder) {
  return readdirSync(folder).flatMap((name) => (statSync(join(folder, name)).isDirectory() ? walk(join(folder, name)) : [join(folder, name)]));
}

/** A clone of an app's or a pattern's repository, as one person has it. */
export function clone(base, token, path) {
  const folder = mkdtempSync(join(tmpdir(), "flywheel-e2e-clone-"));
  const url = new URL(`/git/${path}.git`, base);
  url.username = "git";
  url.password = token;
  const git = (...args) => {
    const { status, stdout, stderr } = spawnSync("git", ["-c", "user.name=Dana", "-c", "user.email=dana@example.com", "-c", "credential.helper=", "-c", "commit.gpgsign=false", ...args], { cwd: folder, encoding: "utf8", timeout: patience });
    assert.equal(status, 0, `git ${args.join(" ")}: ${stderr}`);
    return stdout + stderr;
  };
  git("clone", "-q", url.href, ".");
  return {
    /** Edits main's files on a new branch and pushes it. Returns the id of the change it became. */
    push(branch, message, edits) {
      git("fetch", "-q", "origin");
      git("switch", "-q", "-C", branch, "origin/main");
      for (const [name, edit] of Object.entries(edits)) writeFileSync(join(folder, name), edit(existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : ""));
      git("add", "-A");
      git("commit", "-q", "-m", message);
      return /chg_[a-z0-9]+/.exec(git("push", "--force", "origin", `HEAD:${branch}`))[0];
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
