// Colours of syntax, loaded only where a diff is shown. The highlighter escapes all text it is given.
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import css from "highlight.js/lib/languages/css";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const all = { bash, css, go, ini, java, javascript, json, markdown, python, ruby, rust, sql, typescript, xml, yaml };
for (const [name, definition] of Object.entries(all)) hljs.registerLanguage(name, definition);

// The language of modules is not among those that come with the highlighter.
hljs.registerLanguage("hcl", (h) => ({
  name: "HCL",
  keywords: { keyword: "for in if else endif endfor", literal: "true false null", type: "string number bool list map set object tuple any" },
  contains: [
    h.HASH_COMMENT_MODE, h.C_LINE_COMMENT_MODE, h.C_BLOCK_COMMENT_MODE, h.NUMBER_MODE,
    { scope: "string", begin: /"/, end: /"/, contains: [{ scope: "subst", begin: /[$%]\{/, end: /\}/ }, { begin: /\\./ }] },
    { scope: "keyword", begin: /\b(resource|data|variable|output|module|provider|terraform|locals|moved|import|check|run|assert|validation|lifecycle|backend|required_providers|dynamic|precondition|postcondition)\b(?=[^=]*\{)/ },
    { scope: "attr", begin: /^\s*[\w-]+(?=\s*=[^=])/ },
    { scope: "title", begin: /\b(var|local|each|count|self|path)\b(?=\.)/ },
    { scope: "built_in", begin: /\b[a-z_]+(?=\()/ },
  ],
}));

const cache = new Map<string, string>();

/** One line of code as HTML. Lines are coloured one by one, as a diff has only parts of a file. */
export function paint(text: string, language: string): string {
  const key = `${language} ${text}`;
  let html = cache.get(key);
  if (html === undefined) {
    html = hljs.highlight(text, { language, ignoreIllegals: true }).value;
    if (cache.size > 20_000) cache.clear();
    cache.set(key, html);
  }
  return html;
}
