import { useEffect, useRef } from "react";

/** Calls the action of a shortcut: "mod+k" for Ctrl or ⌘ with a letter, "?" for one key, "g a" for one
 *  after the other. Keys that go into a field are left alone, except with Ctrl or ⌘. */
export function useKeys(actions: Record<string, () => void>) {
  const latest = useRef(actions);
  useEffect(() => {
    latest.current = actions;
  });
  useEffect(() => {
    let before = "";
    let at = 0;
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || event.altKey) return;
      const modified = event.ctrlKey || event.metaKey;
      const target = event.target as HTMLElement;
      const typing = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
      if (!modified && (typing || document.querySelector('[role="dialog"]'))) return;
      const pair = Date.now() - at < 1200 ? `${before} ${event.key}` : "";
      const name = modified ? `mod+${event.key.toLowerCase()}` : latest.current[pair] ? pair : event.key;
      before = modified ? "" : event.key;
      at = Date.now();
      const action = latest.current[name];
      if (!action) return;
      event.preventDefault();
      before = "";
      action();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
