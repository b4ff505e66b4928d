// Words that somebody else wrote, rendered without their power: whatever could run or fetch is removed.
import DOMPurify from "dompurify";
import { Marked } from "marked";
import { useMemo } from "react";

// HTML inside of Markdown is left out before it is parsed: the browser would report what the
// Content-Security-Policy forbids, even where the sanitiser takes it away.
const marked = new Marked({ renderer: { html: () => "" } });

export default function Markdown({ text }: { text: string }) {
  const html = useMemo(() => {
    const raw = marked.parse(text, { async: false, gfm: true });
    const clean = DOMPurify.sanitize(raw, { USE_PROFILES: { html: true }, FORBID_TAGS: ["style", "form", "input", "img", "button"], FORBID_ATTR: ["style", "id", "class", "name"], RETURN_DOM_FRAGMENT: true });
    for (const link of clean.querySelectorAll("a")) {
      link.setAttribute("rel", "noopener noreferrer nofollow");
      link.setAttribute("target", "_blank");
    }
    // A page has one first heading, and it is not this one.
    for (const [from, to] of [["h5", "h6"], ["h4", "h6"], ["h3", "h5"], ["h2", "h4"], ["h1", "h3"]] as const) {
      for (const old of clean.querySelectorAll(from)) {
        const next = document.createElement(to);
        next.append(...old.childNodes);
        old.replaceWith(next);
      }
    }
    for (const table of clean.querySelectorAll("table")) {
      const frame = document.createElement("div");
      frame.className = "scroll-x";
      frame.tabIndex = 0;
      table.replaceWith(frame);
      frame.append(table);
    }
    for (const pre of clean.querySelectorAll("pre")) pre.tabIndex = 0;
    const box = document.createElement("div");
    box.append(clean);
    return box.innerHTML;
  }, [text]);
  return <div className="prose" dangerouslySetInnerHTML={{ __html: html }} />;
}
