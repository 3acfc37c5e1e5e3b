"""Reading chunks of OpenAI-compatible providers, as dictionaries or as client library objects.

Source: OpenAI's API reference, "The chat completion chunk object".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one chunk says; token counts are ``None`` where it has no usage."""

    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def read_chunk(payload: object) -> Chunk:
    """Return what ``payload`` says; anything that it lacks, or has in another shape, is absent."""
    choices = _get(payload, "choices")
    first = choices[0] if isinstance(choices, list | tuple) and choices else None
    text = _get(_get(first, "delta"), "content")
    reason = _get(first, "finish_reason")
    usage = _get(payload, "usage")
    return Chunk(
        text=text if isinstance(text, str) else "",
        finish_reason=reason if isinstance(reason, str) else "",
        prompt_tokens=_count(_get(usage, "prompt_tokens")),
        completion_tokens=_count(_get(usage, "completion_tokens")),
    )


def _get(thing: object, name: str) -> object:
    if isinstance(thing, Mapping):
        return thing.get(name)
    return getattr(thing, name, None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
