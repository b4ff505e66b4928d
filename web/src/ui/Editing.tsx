// A form about something that others may change meanwhile.
import { Button } from "@mantine/core";
import { IconUsers } from "@tabler/icons-react";
import { Fragment, useState, type ReactNode } from "react";
import { Note, Time } from "./parts";

interface Edited {
  etag: string;
  updatedAt: string;
  updatedBy: string;
}

/** Keeps what the form began with. While nobody has touched the form it follows what others do; afterwards
 *  it stays as it is, says who changed the thing, and offers to begin anew with that. Its children tell it
 *  what they saved. */
export function Editing<T extends Edited>({ known, children }: { known: T; children: (began: T, saved: (now: T) => void) => ReactNode }) {
  const [began, setBegan] = useState(known);
  const [touched, setTouched] = useState(false);
  const [round, setRound] = useState(0);
  const stale = known.etag !== began.etag && known.updatedAt > began.updatedAt;
  const anew = () => {
    setBegan(known);
    setTouched(false);
    setRound(round + 1);
  };
  if (stale && !touched) anew();
  return (
    <>
      {stale && touched && (
        <div role="alert">
          <Note tone="hold" icon={<IconUsers size={16} className="ink-hold" aria-hidden />} title={<>{known.updatedBy || "Somebody"} changed this <Time at={known.updatedAt} /></>} action={<Button variant="default" onClick={anew}>Load it anew</Button>}>
            <p>What you typed is still below and is not saved. It was written over something older, so saving it is refused: load it anew and repeat what still matters.</p>
          </Note>
        </div>
      )}
      <div className="stack loose" onFocus={() => setTouched(true)}><Fragment key={round}>{children(began, setBegan)}</Fragment></div>
    </>
  );
}
