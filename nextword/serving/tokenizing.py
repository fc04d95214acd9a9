"""POST /tokenize and /detokenize, GET /tokenizer_info: texts as the model sees them."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field

from nextword.serving.answers import Answer, token_text
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.bodies import Body, JsonRoute, Text, TokenId
from nextword.serving.chat_completions import ChatRequest, GivenMessage, encode_talk
from nextword.serving.errors import ApiError

router = APIRouter(route_class=JsonRoute)


class TokenizeRequest(Body):
    """One of `prompt` and `messages`."""

    model: str | None = None
    prompt: Text | None = None
    messages: list[GivenMessage] | None = Field(None, min_length=1, max_length=4096)
    add_special_tokens: bool = Field(True, description="begin as the model's texts begin")
    return_token_strs: bool = False


class Tokenized(Answer):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Body):
    model: str | None = None
    tokens: list[TokenId]


class Detokenized(Answer):
    prompt: str


class TokenizerInfo(Answer):
    vocab_size: int
    max_model_len: int
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    mask_token: str | None
    special_tokens: dict[str, int]
    chat_template: str | None


@router.post("/tokenize", response_model=Tokenized, responses=REFUSALS)
async def tokenize(body: TokenizeRequest, http: HttpRequest) -> Response:
    """Return a text's token ids, or a conversation's up to where the assistant answers."""
    served = await serving(http).models.get(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "give either a prompt or messages", param="prompt")
    if body.messages is not None:
        is_answer = body.messages[-1].role == "assistant"
        talk = ChatRequest(messages=body.messages, continue_final_message=is_answer)
        ids = await asyncio.to_thread(encode_talk, served, talk)
    else:
        assert body.prompt is not None
        encode, template = served.tokenizer.encode, body.add_special_tokens
        ids = await asyncio.to_thread(encode, body.prompt, template=template)
    answer = Tokenized(count=len(ids), max_model_len=served.context, tokens=ids)
    if body.return_token_strs:
        answer.token_strs = [token_text(served.tokenizer, id) for id in ids]
    return JSONResponse(answer.sent())


@router.post("/detokenize", response_model=Detokenized, responses=REFUSALS)
async def detokenize(body: DetokenizeRequest, http: HttpRequest) -> Response:
    """Return the text of token ids, with the names of control tokens."""
    tokenizer = (await serving(http).models.get(body.model)).tokenizer
    unknown = next((id for id in body.tokens if id >= tokenizer.vocab_size), None)
    if unknown is not None:
        what = f"tokens: there is no token {unknown}; the vocabulary has {tokenizer.vocab_size:,}"
        raise ApiError(400, what, param="tokens")
    text = await asyncio.to_thread(tokenizer.decode, body.tokens, False)
    return JSONResponse(Detokenized(prompt=text).sent())


@router.get("/tokenizer_info", response_model=TokenizerInfo, responses=REFUSALS)
async def tokenizer_info(http: HttpRequest, model: str | None = None) -> Response:
    """Return what is known of the tokenizer."""
    served = await serving(http).models.get(model)
    tokenizer = served.tokenizer
    roles: dict[str, Any] = {}
    for role in ("bos_token", "eos_token", "pad_token", "mask_token"):
        id = tokenizer.role_id(role)
        roles[role] = None if id is None else tokenizer.id_to_token(id)
    special = {str(tokenizer.id_to_token(id)): id for id in sorted(tokenizer.special_ids)}
    info = TokenizerInfo(
        vocab_size=tokenizer.vocab_size,
        max_model_len=served.context,
        special_tokens=special,
        chat_template=None if served.chat is None else served.chat.template,
        **roles,
    )
    return JSONResponse(info.sent())
