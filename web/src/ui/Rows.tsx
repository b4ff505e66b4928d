// A long list: only what can be seen is in the page, and the next part is fetched before its end is
// reached.
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useRef, useState, type ReactNode } from "react";

interface More {
  hasNextPage: boolean;
  isFetchingNextPage: boolean;
  fetchNextPage: () => unknown;
}

export function Rows<T extends { id: string }>({ items, more, label, children }: { items: T[]; more?: More; label: string; children: (item: T) => ReactNode }) {
  const list = useRef<HTMLUListElement>(null);
  const [margin, setMargin] = useState(0);
  useLayoutEffect(() => setMargin(list.current?.offsetTop ?? 0), []);
  const rows = useWindowVirtualizer({ count: items.length, estimateSize: () => 45, overscan: 12, scrollMargin: margin, getItemKey: (i) => items[i]?.id ?? i });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more?.hasNextPage && !more.isFetchingNextPage && last >= items.length - 20) more.fetchNextPage();
  }, [last, items.length, more]);
  return (
    <ul className="rows virtual" ref={list} aria-label={label} style={{ height: rows.getTotalSize() }}>
      {shown.map((row) => (
        <li key={row.key} data-index={row.index} ref={rows.measureElement} aria-setsize={more?.hasNextPage ? -1 : items.length} aria-posinset={row.index + 1}
          style={{ transform: `translateY(${row.start - rows.options.scrollMargin}px)` }}>
          {children(items[row.index]!)}
        </li>
      ))}
    </ul>
  );
}
