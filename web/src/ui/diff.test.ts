import { expect, it } from "vitest";
import { language, rows } from "./diff";

it("numbers the lines of both sides", () => {
  const patch = "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -3,3 +3,4 @@ func main() {\n same\n-old\n+new\n+more\n end\n\\ No newline at end of file\n@@ -20 +21 @@\n-a\n+b\n";
  expect(rows(patch)).toEqual([
    { kind: "hunk", text: "func main() {" },
    { kind: "same", old: 3, new: 3, text: "same" },
    { kind: "del", old: 4, text: "old" },
    { kind: "add", new: 4, text: "new" },
    { kind: "add", new: 5, text: "more" },
    { kind: "same", old: 5, new: 6, text: "end" },
    { kind: "hunk", text: "" },
    { kind: "del", old: 20, text: "a" },
    { kind: "add", new: 21, text: "b" },
  ]);
  expect(rows("")).toEqual([]);
});

it("keeps lines of content that look like headers", () => {
  expect(rows("--- a/x\n+++ b/x\n@@ -1 +1 @@\n--- gone\n+++ come\n")).toEqual([
    { kind: "hunk", text: "" }, { kind: "del", old: 1, text: "-- gone" }, { kind: "add", new: 1, text: "++ come" },
  ]);
});

it("knows languages by name", () => expect(["a/main.tf", "flywheel.yaml", "Dockerfile", "LICENSE", "x.GO"].map(language)).toEqual(["hcl", "yaml", "bash", undefined, "go"]));
