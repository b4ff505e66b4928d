/** Flywheel's mark: three arcs that chase each other around a hub. */
export function Mark({ size = 20 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden>
      <rect width="32" height="32" rx="8" fill="var(--text)" />
      <g fill="none" stroke="var(--bg)" strokeWidth="2.6" strokeLinecap="round">
        <path d="M16 6.5a9.5 9.5 0 0 1 8.3 4.85" />
        <path d="M25.4 17.5A9.5 9.5 0 0 1 16 25.5" />
        <path d="M8.5 21.8a9.5 9.5 0 0 1 1-12.7" />
      </g>
      <circle cx="16" cy="16" r="2.8" fill="var(--bg)" />
    </svg>
  );
}
