// Reads a unified patch of one file into rows that a page can show.

export interface Row {
  kind: "hunk" | "same" | "add" | "del";
  old?: number;
  new?: number;
  text: string;
}

export function rows(patch: string): Row[] {
  const found: Row[] = [];
  let before = 0;
  let after = 0;
  let inside = false;
  for (const line of patch.split("\n")) {
    const hunk = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)$/.exec(line);
    if (hunk) {
      before = Number(hunk[1]);
      after = Number(hunk[2]);
      inside = true;
      found.push({ kind: "hunk", text: hunk[3] ?? "" });
    } else if (!inside) {
      continue; // names and modes, which the page shows its own way
    } else if (line.startsWith("+")) {
      found.push({ kind: "add", new: after++, text: line.slice(1) });
    } else if (line.startsWith("-")) {
      found.push({ kind: "del", old: before++, text: line.slice(1) });
    } else if (line.startsWith(" ")) {
      found.push({ kind: "same", old: before++, new: after++, text: line.slice(1) });
    } else if (line.startsWith("diff --git ")) {
      inside = false;
    }
  }
  return found;
}

const languages: Record<string, string> = {
  go: "go", tf: "hcl", hcl: "hcl", tfvars: "hcl", yaml: "yaml", yml: "yaml", json: "json", ts: "typescript", tsx: "typescript", js: "javascript", mjs: "javascript", jsx: "javascript",
  py: "python", sh: "bash", bash: "bash", css: "css", html: "xml", xml: "xml", svg: "xml", md: "markdown", sql: "sql", java: "java", rs: "rust", rb: "ruby", toml: "ini", ini: "ini", mod: "go",
};

/** The language of a file, by its name. */
export function language(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "Dockerfile" || name === "Makefile") return "bash";
  return languages[name.slice(name.lastIndexOf(".") + 1).toLowerCase()];
}
