/** Runs as the server describes them, followed while they are under way. */
import { useEffect } from "./vendor/preact-htm.js";
import { call } from "./api.js";
import { measure } from "./session.js";
import { get, set, useStore } from "./store.js";

const EVERY = 2000; // milliseconds between looks at a run that is under way

export const start = () => ({
  table: null, // of runs, where runs are served
  chosen: [], // names of runs that are shown
  followed: {}, // what they have written down, by name
  runsError: null,
});

/** Read the table of runs, now and while any of them is under way. */
export async function loadRuns() {
  try {
    const found = await call("runs");
    const table = found.root === null ? null : found; // null where a model alone is served
    set({ table, runsError: null });
    if (table && !get().chosen.length && table.runs.length) {
      const first = table.runs.find((run) => run.status === "running") ?? table.runs[0];
      set({ chosen: [first.name] });
    }
  } catch (error) {
    set({ runsError: error });
  }
}

/** Take over what the chosen runs have written since they were last asked. */
async function follow() {
  for (const name of get().chosen) {
    const known = get().followed[name] ?? { position: 0, records: [] };
    const more = await call(`runs/${encodeURI(name)}?after=${known.position}`);
    const records = more.restarted ? more.records : [...known.records, ...more.records];
    if (more.position === known.position && known.run?.status === more.status) continue;
    if (known.run && known.run.best_step !== more.best_step && name === get().model) measure();
    set((state) => ({
      followed: { ...state.followed, [name]: { position: more.position, records, run: more } },
    }));
  }
}

/** Follow the chosen runs for as long as something shows them. */
export function useFollowing() {
  const chosen = useStore((state) => state.chosen);
  useEffect(() => {
    let timer = 0;
    let over = false;
    const look = async () => {
      try {
        await follow();
        if (get().table?.runs.some((run) => run.status === "running")) await loadRuns();
        if (get().runsError) set({ runsError: null });
      } catch (error) {
        set({ runsError: error });
      }
      if (!over) timer = setTimeout(look, EVERY);
    };
    look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [chosen.join("\n")]);
}
