// Files that differ, each with its patch. The colours of the syntax come with a script of their own,
// after the text is there.
import { Button } from "@mantine/core";
import { IconChevronRight, IconFileDiff } from "@tabler/icons-react";
import { memo, useEffect, useMemo, useState } from "react";
import type { FileDiff } from "../api/types";
import { useAct } from "./act";
import { language, rows } from "./diff";
import { Note, Wrong } from "./parts";
import { plural } from "./text";

type Paint = (text: string, language: string) => string;

/** The files that differ. whole reads the patch of a file that is too long to come with the others. */
export function Diff({ files, whole }: { files: FileDiff[]; whole?: (path: string) => Promise<string> }) {
  const [paint, setPaint] = useState<Paint>();
  useEffect(() => {
    void import("./paint").then(({ paint }) => setPaint(() => paint));
  }, []);
  const added = files.reduce((sum, file) => sum + file.added, 0);
  const removed = files.reduce((sum, file) => sum + file.removed, 0);
  let shown = 0;
  return (
    <div className="stack">
      <p className="dim small line"><IconFileDiff size={14} aria-hidden />{plural(files.length, "file")} <Count added={added} removed={removed} /></p>
      {files.map((file) => {
        shown += file.added + file.removed;
        return <File key={file.path} file={file} paint={paint} open={shown < 500 && !file.binary} whole={whole} />;
      })}
    </div>
  );
}

function Count({ added, removed }: { added: number; removed: number }) {
  return <span className="tabular nowrap"><span className="ink-good">+{added}</span> <span className="ink-bad">−{removed}</span></span>;
}

const File = memo(function File({ file, paint, open: first, whole }: { file: FileDiff; paint?: Paint; open: boolean; whole?: (path: string) => Promise<string> }) {
  const [open, setOpen] = useState(first);
  const [rest, setRest] = useState<string>();
  const read = useAct(async () => setRest(await whole?.(file.path)));
  const patch = rest ?? file.patch;
  const all = useMemo(() => (open ? rows(patch) : []), [open, patch]);
  const lang = language(file.path);
  return (
    <details className="file" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <IconChevronRight size={14} className="chevron dim" aria-hidden />
        <code className="clip" title={file.path}>{file.oldPath ? `${file.oldPath} → ${file.path}` : file.path}</code>
        {file.status !== "modified" && <span className="dim small">{file.status.replace("_", " ")}</span>}
        {file.binary && <span className="dim small">binary</span>}
        <span className="push small"><Count added={file.added} removed={file.removed} /></span>
      </summary>
      <div className="scroll-x" tabIndex={0} role="region" aria-label={`Changes of ${file.path}`}>
          <table className="diff">
            <tbody>
              {all.map((row, i) => (
                <tr key={i} className={row.kind}>
                  <td className="number" data-line={row.old ?? ""} />
                  <td className="number" data-line={row.new ?? ""} />
                  <td className="sign" data-sign={row.kind === "add" ? "+" : row.kind === "del" ? "−" : ""}>{row.kind === "add" ? <span className="hidden">added: </span> : row.kind === "del" ? <span className="hidden">removed: </span> : null}</td>
                  {paint && lang && row.kind !== "hunk" && row.text.length < 2000
                    ? <td className="code" dangerouslySetInnerHTML={{ __html: paint(row.text, lang) }} />
                    : <td className="code">{row.kind === "hunk" ? `… ${row.text}` : row.text}</td>}
                </tr>
              ))}
            </tbody>
          </table>
          {all.length === 0 && <p className="pad dim">{file.status === "renamed" ? "Renamed without a change." : `Its mode changed from ${file.oldMode} to ${file.newMode}.`}</p>}
      </div>
      {file.truncated && rest === undefined && (
        <Note tone="hold" action={whole && <Button variant="default" loading={read.isPending} onClick={() => read.mutate(undefined)}>Show all of it</Button>}>
          <p>The rest is too long to come with the other files. Who approves the change has to open it.</p>
          <Wrong error={read.error} />
        </Note>
      )}
    </details>
  );
});
