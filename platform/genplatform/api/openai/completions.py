"""`POST /v1/completions`: texts that an endpoint's language model goes on with, as OpenAI answers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from genplatform.api.bodies import json_object
from genplatform.api.deps import Tenant, Wired
from genplatform.api.openai.asked import SEED_END, neutral, required_model, whole
from genplatform.api.openai.errors import refused
from genplatform.api.openai.images import Gateway
from genplatform.api.openai.replicas import Made, while_connected
from genplatform.domain.seeds import item_seed
from genplatform.errors import GenctlError, Unavailable

router = APIRouter(prefix="/completions")

TEXT = "text"
MOST_CHOICES = 64  # of all prompts together
PROMPTS_AT_ONCE = 4  # of one request, so that it does not take all places of an endpoint
MOST_TOKENS = 1 << 20
USUAL_TOKENS = 16
MOST_STOPS = 4

# Field -> the values that ask for nothing but what is done anyway. Null always does.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
    "logprobs": (),
    "presence_penalty": (0, 0.0),
    "stream": (False,),
    "stream_options": (),
    "suffix": ("",),
}


@dataclass(frozen=True)
class CompletionsAsked:
    """One request: `n` choices of each prompt, drawn alike. `seed` None: one at random."""

    model: str
    prompts: tuple[str, ...]
    n: int
    seed: int | None
    cond: Mapping[str, Any]


def read_completions(body: bytes) -> CompletionsAsked:
    """Read the body of `POST /v1/completions`; raises `BadRequest` that names the field."""
    fields = json_object(body)
    neutral(fields, _NEUTRAL)
    prompts = _texts("" if fields.get("prompt") is None else fields["prompt"], "prompt")
    n = whole(fields, "n", 1, MOST_CHOICES + 1) or 1
    if not 1 <= n * len(prompts) <= MOST_CHOICES:
        raise refused("n", f"{len(prompts)} prompts of {n} choices each are not 1 to {MOST_CHOICES}.")
    stops = _texts(fields.get("stop") or [], "stop")
    if len(stops) > MOST_STOPS or "" in stops:
        raise refused("stop", f"stop must be at most {MOST_STOPS} texts that are not empty.")
    cond = {
        "max_new_tokens": whole(fields, "max_tokens", 1, MOST_TOKENS) or USUAL_TOKENS,
        "temperature": _number(fields, "temperature", 0, 2),
        "top_p": _number(fields, "top_p", 0, 1),
        "stop": list(stops),
        "echo": _flag(fields, "echo"),
    }
    return CompletionsAsked(required_model(fields), prompts, n, whole(fields, "seed", 0, SEED_END), cond)


async def complete(gateway: Gateway, tenant: str, asked: CompletionsAsked) -> dict[str, Any]:
    """Return the choices asked for, prompt by prompt, and what they used: an answer but for `id` and `created`."""
    route = await gateway.find(tenant, asked.model, TEXT)
    seed = gateway.seed(asked.seed)
    places = asyncio.Semaphore(PROMPTS_AT_ONCE)

    async def of_prompt(number: int, prompt: str) -> Made:
        seeds = [item_seed(seed, number * asked.n + choice) for choice in range(asked.n)]
        async with places:
            return await gateway.generate(route, asked.model, seeds, {**asked.cond, "prompt": prompt}, "txt")

    try:
        async with asyncio.TaskGroup() as group:  # of which one that fails ends the others
            tasks = [group.create_task(of_prompt(number, prompt)) for number, prompt in enumerate(asked.prompts)]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    made = [task.result() for task in tasks]
    if len({one.model for one in made}) > 1:
        raise Unavailable(
            f"The model of {route.name} was replaced while it answered.", "Ask again: one answer is of one model."
        )
    texts = [(base64.b64decode(item), told) for one in made for item, told in zip(one.images, one.told, strict=True)]
    try:
        used = {
            "prompt_tokens": sum(int(one.told[0]["prompt_tokens"]) for one in made),
            "completion_tokens": sum(int(told["completion_tokens"]) for _, told in texts),
        }
        choices = [
            {"text": text.decode(), "index": index, "finish_reason": str(told["finish_reason"]), "logprobs": None}
            for index, (text, told) in enumerate(texts)
        ]
    except (KeyError, IndexError, ValueError) as error:
        raise GenctlError(f"A replica of {route.name} gave an answer that cannot be read.") from error
    usage = used | {"total_tokens": sum(used.values())}
    return {"object": "text_completion", "model": made[0].model, "seed": seed, "choices": choices, "usage": usage}


@router.post("")
async def create_completion(w: Wired, tenant: Tenant, request: Request) -> JSONResponse:
    """Go on from each prompt `n` times. The same seed with the same model version gives the same texts."""
    gateway: Gateway = request.app.state.gateway
    asked = read_completions(await request.body())
    answer = await while_connected(request, complete(gateway, tenant, asked))
    name = f"cmpl-{w.randbelow(1 << 64):016x}"
    return JSONResponse({"id": name, "created": int(w.clock())} | answer)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise refused(name, f"{name} must be a text or a list of texts; tokens are not taken.", "", "invalid_type")
    return tuple(texts)


def _number(fields: Mapping[str, Any], name: str, least: float, most: float) -> float:
    value = fields.get(name)
    if value is None:
        return 1.0
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refused(name, f"{name} is not a number.", "", "invalid_type")
    if not least <= value <= most:
        raise refused(name, f"{name} must lie between {least:g} and {most:g}.")
    # To draw from no share at all is to take the likeliest.
    return max(float(value), 1e-9) if name == "top_p" else float(value)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise refused(name, f"{name} is not true or false.", "", "invalid_type")
