import { useState } from "react";

/** The values of a form that change by parts. */
export function useForm<T extends object>(initial: T) {
  const [values, setValues] = useState(initial);
  return { values, set: (part: Partial<T>) => setValues((old) => ({ ...old, ...part })) };
}
