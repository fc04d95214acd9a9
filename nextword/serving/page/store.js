/** The page's state: one object, replaced piece by piece; whoever shows a part of it is told. */
import { useLayoutEffect, useReducer, useRef } from "./vendor/preact-htm.js";

const listeners = new Set();
let state = {};

/** Return the state as it is now. Never change it in place. */
export const get = () => state;

/** Replace parts of the state, `patch` being an object or a function of the state that gives one. */
export function set(patch) {
  const parts = typeof patch === "function" ? patch(state) : patch;
  if (!parts || Object.keys(parts).every((name) => Object.is(state[name], parts[name]))) return;
  state = { ...state, ...parts };
  for (const listener of [...listeners]) listener(state);
}

/** Call `listener` with the state after each change; returns what ends that. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Return `select(state)` in a component, which is drawn anew whenever that is another value. */
export function useStore(select) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const latest = useRef();
  latest.current = { select, value: select(state) };
  useLayoutEffect(
    () =>
      subscribe(() => {
        const { select, value } = latest.current;
        if (!Object.is(select(state), value)) redraw();
      }),
    [],
  );
  return latest.current.value;
}
