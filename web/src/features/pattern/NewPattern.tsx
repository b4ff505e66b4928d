// A pattern for the catalogue, from a folder: its first version is then certified.
import { Button, TextInput } from "@mantine/core";
import { IconFolder } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useRef, useState, type ChangeEvent, type FormEvent } from "react";
import { Problem } from "../../api/client";
import { useAct } from "../../ui/act";
import { Card, Note, Page, StateIcon, Wrong } from "../../ui/parts";
import { plural } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { useForm } from "../app/form";
import { createPattern, validate } from "./queries";

const most = 8_000_000; // bytes of text that a browser sends at once; more goes by git

/** The files of a chosen folder by their path inside of it, without what tools leave behind. */
export async function contents(list: Iterable<File & { webkitRelativePath: string }>): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  let size = 0;
  for (const file of list) {
    const path = file.webkitRelativePath.split("/").slice(1).join("/") || file.name;
    if (/(^|\/)(\.git|\.terraform|node_modules)\//.test(path) || /\.tfstate(\.backup)?$/.test(path)) continue;
    size += file.size;
    if (size > most) throw new Error("The folder holds more than 8 MB: push it with git to the repository of an empty pattern.");
    const text = await file.text();
    if (text.includes("\u0000")) throw new Error(`${path} is not text: push it with git to the repository of an empty pattern.`);
    files[path] = text;
  }
  return files;
}

export default function NewPattern() {
  const me = useMe();
  const navigate = useNavigate();
  const input = useRef<HTMLInputElement>(null);
  const { values, set } = useForm({ name: "", title: "", files: {} as Record<string, string> });
  const [unreadable, setUnreadable] = useState<unknown>();
  const manifest = values.files["pattern.yaml"];
  const checked = useQuery({ queryKey: ["validate", manifest], queryFn: () => validate("pattern.yaml", manifest!), enabled: manifest !== undefined });
  const create = useAct(() => createPattern({ name: values.name, title: values.title || undefined, files: Object.keys(values.files).length > 0 ? values.files : undefined }), ({ name, change }) =>
    void (change ? navigate({ to: "/changes/$change", params: { change } }) : navigate({ to: "/patterns/$pattern", params: { pattern: name } })));
  const problem = create.error instanceof Problem ? create.error : undefined;
  const paths = Object.keys(values.files).sort();
  const choose = async (event: ChangeEvent<HTMLInputElement>) => {
    setUnreadable(undefined);
    try {
      const files = await contents(event.currentTarget.files ?? []);
      const said = /^metadata:\s*\{?[^\n]*?\bname:\s*([a-z0-9-]+)/m.exec(files["pattern.yaml"] ?? "")?.[1] ?? /^\s+name:\s*([a-z0-9-]+)/m.exec(files["pattern.yaml"] ?? "")?.[1];
      set({ files, ...(values.name === "" && said ? { name: said } : {}) });
    } catch (error) {
      setUnreadable(error);
    }
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (values.name) create.mutate(undefined);
  };
  const crumbs = <Link to="/patterns">Patterns</Link>;
  if (!may(me, "create_pattern")) {
    return <Page title="Create a pattern" width="narrow" crumbs={crumbs}><Note tone="quiet" title="You cannot create patterns">The Center of Excellence does. <Link className="link" to="/pattern-requests">Ask for one</Link> in words.</Note></Page>;
  }
  return (
    <Page title="Create a pattern" width="narrow" crumbs={crumbs}>
      <form className="stack loose" onSubmit={submit}>
        <Card title="Its folder">
          <div className="stack">
            <p className="dim">An OpenTofu or Terraform module with a <code className="word">pattern.yaml</code> beside it, which says who controls which variable inside which bounds. Without a folder the pattern begins empty, and its repository takes the first branch you push.</p>
            <input ref={input} type="file" multiple className="hidden" tabIndex={-1} aria-label="Folder of the pattern" onChange={(event) => void choose(event)} {...{ webkitdirectory: "" }} />
            <div className="line"><Button variant="default" leftSection={<IconFolder size={15} />} onClick={() => input.current?.click()}>Choose a folder</Button>{paths.length > 0 && <span className="dim small">{plural(paths.length, "file")}</span>}</div>
            <Wrong error={unreadable} />
            {paths.length > 0 && (
              <>
                <ul className="paths" tabIndex={0} aria-label="Files">{paths.map((path) => <li key={path}><code>{path}</code></li>)}</ul>
                {manifest === undefined ? <Note tone="hold"><p>There is no <code className="word">pattern.yaml</code> at its root, so its certification would fail.</p></Note>
                  : checked.data?.valid ? <p className="line small"><StateIcon state="passed" />pattern.yaml is valid.</p>
                    : checked.data && <Note tone="bad" title="pattern.yaml is not valid"><ul>{checked.data.problems.map((one) => <li key={one.path + one.message}><code>{one.path}</code>: {one.message}</li>)}</ul></Note>}
              </>
            )}
          </div>
        </Card>
        <Card title="What it is">
          <div className="stack loose">
            <TextInput label="Name" description="2 to 40 lower case letters, digits and hyphens" placeholder="web-service" required withAsterisk={false} value={values.name} onChange={(event) => set({ name: event.currentTarget.value })} error={problem?.field("name")} spellCheck={false} autoCapitalize="none" />
            <TextInput label="Title" description="What people call it; the name if left out" value={values.title} onChange={(event) => set({ title: event.currentTarget.value })} error={problem?.field("title")} />
          </div>
        </Card>
        <Wrong error={create.error} />
        <p className="dim small">Its first version is certified like every later one: checks run by themselves, and security, operations and development decide.</p>
        <div className="line"><Button type="submit" size="sm" disabled={!values.name} loading={create.isPending}>Create the pattern</Button><Button variant="subtle" color="gray" size="sm" component={Link} to="/patterns">Cancel</Button></div>
      </form>
    </Page>
  );
}
