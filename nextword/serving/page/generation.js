/** A continuation as it is written, token by token. */
import { stream } from "./api.js";

/** Have the model go on after `prompt`, ids, with at most `count` tokens. `onTokens` is given those
 * that have arrived since the page was last drawn. All that is written matches `pattern`, a regular
 * expression, where there is one. Returns why it ended. */
export async function generate({ model, prompt, count, sampling, pattern }, signal, onTokens) {
  const request = {
    model,
    prompt,
    max_tokens: count,
    ...sampling,
    seed: Math.floor(Math.random() * 2 ** 31),
    stream: true,
    logprobs: 0,
    return_token_ids: true,
    ...(pattern ? { response_format: { type: "regex", pattern } } : {}),
  };
  let arrived = [];
  let timer = 0;
  let finish = "";
  const draw = () => {
    timer = 0;
    const more = arrived;
    arrived = [];
    if (more.length && !signal.aborted) onTokens(more);
  };
  for await (const event of stream("v1/completions", request, signal)) {
    const [choice] = event.choices;
    if (!choice) continue; // the last event counts tokens
    arrived.push(...readTokens(choice));
    finish = choice.finish_reason ?? finish;
    timer ||= setTimeout(draw, 0); // what arrives together is drawn together
  }
  clearTimeout(timer);
  draw();
  return finish;
}

/** Return the tokens of one event, each with its part of the event's text. */
function readTokens(choice) {
  const ids = choice.token_ids ?? [];
  const { token_logprobs: logprobs = [], text_offset: offsets = [] } = choice.logprobs ?? {};
  const characters = Array.from(choice.text); // offsets count code points
  return ids.map((id, number) => {
    const from = offsets[number] - offsets[0];
    const to = number + 1 < ids.length ? offsets[number + 1] - offsets[0] : undefined;
    const logprob = logprobs[number];
    return {
      id,
      text: ids.length > 1 ? characters.slice(from, to).join("") : choice.text,
      special: false,
      bits: Number.isFinite(logprob) ? -logprob / Math.LN2 : null,
      rank: null,
      mine: false,
    };
  });
}
