"""A model as lm-eval, EleutherAI's evaluation harness, asks for one: log-probabilities of
continuations, of whole texts, and greedy answers.

What it returns is what the harness's own class for transformers models returns, for the same
weights: the same ids, the same cuts where a text is longer than the context.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch.nn.utils.rnn import pad_sequence

from nextword.errors import UserError
from nextword.inference.generate import generate
from nextword.inference.language_model import LanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.settings import GenerateSettings
from nextword.terminal import Progress

LONGEST_ANSWER = 256  # tokens, where a task sets no limit
Encoded = tuple[Any, list[int], list[int]]  # whose it is, the context's ids, the continuation's


class HarnessModel(TemplateLM):
    """A decoder, for lm-eval. Raises UserError for an encoder–decoder."""

    def __init__(self, model: LanguageModel, batch_size: int) -> None:
        super().__init__()
        if isinstance(model.transformer, EncoderDecoder):
            raise UserError(
                "benchmarks are measured with decoders, and this is an encoder–decoder",
                where=model.name,
                mend="evaluate it on labelled data of its task",
            )
        self.model, self.batch_size = model, batch_size
        self.context = model.transformer.config.context_length

    @property
    def eot_token_id(self) -> int:
        return self.model.tokenizer.end_id

    @property
    def prefix_token_id(self) -> int:
        return self.model.start_id

    @property
    def tokenizer_name(self) -> str:
        return self.model.name

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Return a text's ids, begun as the tokenizer's template begins a text unless told not."""
        start = self.model.tokenizer.decode([self.prefix_token_id], skip_special=False)
        begins = add_special_tokens is None and string.startswith(start)
        template = not begins if add_special_tokens is None else add_special_tokens
        return self.model.tokenizer.encode(string, template=template)

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """Return of each continuation the sum of its log-probabilities in nats, and whether
        greedy decoding would write it. Long texts are cut on the left."""
        order = sorted(range(len(requests)), key=lambda n: -sum(map(len, requests[n][1:])))
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with Progress("Scoring", len(requests), "answers") as bar:
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                scored = self._score([requests[n] for n in chosen])
                for number, result in zip(chosen, scored, strict=True):
                    results[number] = result
                bar.advance(len(chosen))
        return results

    def _score(self, requests: Sequence[Encoded]) -> list[tuple[float, bool]]:
        transformer = self.model.transformer
        device = transformer.embedding.weight.device
        texts = [(context + rest)[-(self.context + 1) :] for _, context, rest in requests]
        inputs = [torch.tensor(text[:-1]) for text in texts]
        tokens = pad_sequence(inputs, batch_first=True).to(device)  # [rows, time]
        hidden = transformer(tokens)  # padding on the right is seen by no token before it
        results = []
        for row, (text, (_, _, rest)) in enumerate(zip(texts, requests, strict=True)):
            last = len(text) - 1
            target = torch.tensor(text[-len(rest) :], device=device)  # [continuation]
            logits = transformer.logits(hidden[row, last - len(target) : last]).float()
            nats = logits.log_softmax(-1).gather(-1, target[:, None]).sum()
            results.append((float(nats), bool((logits.argmax(-1) == target).all())))
        return results

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-probability of each text, read in windows as long as the context."""
        windows: list[Encoded] = []
        for number, request in enumerate(requests):
            cut = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.context,
                context_len=1,
            )
            windows += [(number, *make_disjoint_window(window)) for window in cut]
        totals = [0.0] * len(requests)
        scored = self._loglikelihood_tokens(windows)
        for (number, _, _), (nats, _) in zip(windows, scored, strict=True):
            totals[number] += nats
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return each answer up to the first of its stop strings."""
        answers = []
        with Progress("Answering", len(requests), "questions") as bar:
            for request in requests:
                prompt, options = request.args
                answers.append(self._answer(prompt, dict(options)))
                bar.advance()
        return answers

    def _answer(self, prompt: str, options: dict[str, Any]) -> str:
        stops = _stop_strings(options.get("until"))
        longest = int(options.get("max_gen_toks") or LONGEST_ANSWER)
        if longest >= self.context:
            raise UserError(
                f"a task asks for answers of {longest:,} tokens, and the model sees "
                f"{self.context:,} at once",
                where=self.model.name,
                mend="choose a benchmark of shorter answers, or a model with a longer context",
            )
        sampled = bool(options.get("do_sample"))
        settings = GenerateSettings(
            max_new_tokens=longest,
            temperature=float(options.get("temperature") or 1.0) if sampled else 0.0,
            top_p=float(options.get("top_p") or 1.0) if sampled else 1.0,
        )
        ids = self.tok_encode(prompt)[-(self.context - longest) :] or [self.prefix_token_id]
        tokenizer, transformer = self.model.tokenizer, self.model.transformer.eval()
        (generated,) = generate(
            transformer, [ids], settings, self.model.end_ids, vocab_size=tokenizer.vocab_size
        )
        text = tokenizer.decode(generated.ids)
        return str(postprocess_generated_text(text, stop=stops, think_end_token=None))


def _stop_strings(until: str | Iterable[str] | None) -> list[str]:
    return [until] if isinstance(until, str) else list(until or [])
