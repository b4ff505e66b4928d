// A secret that is shown once: after this dialog nobody can read it again.
import { Button, Modal } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { Note } from "./parts";

export function Once({ title, secret, close, children }: { title: string; secret?: string; close: () => void; children?: ReactNode }) {
  const clipboard = useClipboard({ timeout: 2000 });
  return (
    <Modal opened={!!secret} onClose={close} title={title} closeOnClickOutside={false}>
      <div className="stack">
        {children}
        <div className="secret">
          <code aria-label="The secret">{secret}</code>
          <Button variant="default" leftSection={clipboard.copied ? <IconCheck size={14} /> : <IconCopy size={14} />} onClick={() => clipboard.copy(secret)}>{clipboard.copied ? "Copied" : "Copy"}</Button>
        </div>
        <Note tone="hold"><p>It is shown only now. Flywheel keeps nothing it could be read from again.</p></Note>
        <div className="line"><Button onClick={close}>I have it</Button></div>
      </div>
    </Modal>
  );
}
