// The text of a log as it grows. A live one is read to its end, and begun again if the connection is
// lost before that.
import { useEffect, useRef, useState } from "react";
import { read } from "../api/client";
import { Wrong } from "./parts";

const limit = 2_000_000; // characters kept; of a longer log the end is shown

export function Log({ path, live, label }: { path: string; live: boolean; label: string }) {
  const [text, setText] = useState("");
  const [state, setState] = useState<"reading" | "done">("reading");
  const [error, setError] = useState<unknown>();
  const [attempt, setAttempt] = useState(0);
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    const stop = new AbortController();
    let again: ReturnType<typeof setTimeout> | undefined;
    void (async () => {
      try {
        const answer = await fetch(`/api/v1${path}${live ? "?follow=true" : ""}`, { signal: stop.signal });
        if (!answer.ok) throw await read(answer);
        let all = "";
        const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          all = (all + part.value).slice(-limit);
          setText(all);
        }
        setText(all);
        setError(undefined);
        setState("done");
      } catch (e) {
        if (stop.signal.aborted) return;
        if (live && e instanceof TypeError) again = setTimeout(() => setAttempt((n) => n + 1), 1500);
        else setError(e);
      }
    })();
    return () => {
      stop.abort();
      clearTimeout(again);
    };
  }, [path, live, attempt]);

  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);

  if (error) return <div className="pad"><Wrong error={error} retry={() => setAttempt((n) => n + 1)} /></div>;
  return (
    <pre className="log" ref={box} tabIndex={0} role="log" aria-label={label} aria-busy={live && state === "reading"}
      onScroll={({ currentTarget: box }) => { atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < 30; }}>
      {text || (state === "done" ? <span className="dim">It wrote nothing.</span> : <span className="dim">Waiting for the first line…</span>)}
    </pre>
  );
}
