// Whether somebody is signed in, outside of React, because requests need to know it too.
type State = "unknown" | "in" | "out" | "expired";

let state: State = "unknown";
const listeners = new Set<() => void>();
let waiting: ((renewed: boolean) => void)[] = [];

function set(next: State) {
  if (state === next) return;
  state = next;
  for (const listen of listeners) listen();
}

export const session = {
  get: () => state,
  subscribe(listen: () => void) {
    listeners.add(listen);
    return () => void listeners.delete(listen);
  },
  /** Somebody is signed in; requests that wait for that go on. */
  begin() {
    set("in");
    for (const go of waiting) go(true);
    waiting = [];
  },
  /** Nobody is signed in, by their own wish or from the start. */
  end() {
    set("out");
    for (const go of waiting) go(false);
    waiting = [];
  },
  /** A request was refused for want of a session. Resolves to true once somebody has signed in over
   *  the page, and to false when there was no session to renew. */
  again(): Promise<boolean> {
    if (state !== "in" && state !== "expired") return Promise.resolve(false);
    set("expired");
    return new Promise((resolve) => waiting.push(resolve));
  },
};
