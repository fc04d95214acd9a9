/** The server, as the page sees it: JSON and streams of tokens. Where the server has a key, the
 * browser sends it along: opening the page left it in a cookie. */

/** What the server answered instead: `status` is HTTP's, 0 where nothing could be reached. */
class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Send a request and return the response. Raises ApiError for anything but a success. */
async function send(path, body, signal) {
  const question =
    body === undefined
      ? { signal }
      : {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
          signal,
        };
  let response;
  try {
    response = await fetch(path, question);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "");
  }
  if (response.ok) return response;
  let said = "";
  try {
    said = (await response.json()).error.message;
  } catch {
    // no body that we know: the status says enough
  }
  throw new ApiError(response.status, said || `${response.status} ${response.statusText}`);
}

/** Return the JSON of a GET, or of a POST where there is a body. */
export const call = async (path, body, signal) => (await send(path, body, signal)).json();

/** Yield the JSON objects of a stream of server-sent events, up to its [DONE]. */
export async function* stream(path, body, signal) {
  const response = await send(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  let over = false;
  try {
    while (!over) {
      const { done, value = "" } = await reader.read();
      over = done;
      const lines = (held + value).split(/\r?\n/);
      held = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") continue;
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(500, event.error.message);
        yield event;
      }
    }
  } finally {
    if (!over) reader.cancel().catch(() => {}); // whoever stops listening stops the computation as well
  }
}

/** Return a function that runs `work(signal, ...)` and ends the run before it, so that the latest
 * question is the one that is answered. An ended run gives undefined. */
export function latest(work) {
  let controller = null;
  return async (...args) => {
    controller?.abort();
    const own = (controller = new AbortController());
    try {
      const value = await work(own.signal, ...args);
      return own.signal.aborted ? undefined : value;
    } catch (error) {
      if (own.signal.aborted) return undefined;
      throw error;
    }
  };
}

/** Return a function that runs `work` now, or once more after the run that is under way: never two
 * at a time, and never an old question last. */
export function paced(work) {
  let running = false;
  let again = false;
  const run = async () => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        await work();
      } while (again);
    } finally {
      running = false;
    }
  };
  return run;
}
