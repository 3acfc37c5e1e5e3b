"""The one true end state of every chat, from what the provider did and what the client did.

Nothing here knows the SDK, and nothing of this is visible to it. The states are told apart by
construction: a client that is going to leave gets a healthy answer that does not end by itself, so
that no fault and no completion can come before its leaving; all other clients read to the end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TextIO

STATES = ("completed", "client_left", "provider_cut", "stalled", "timed_out", "error")


class Fault(StrEnum):
    """What the provider does to an answer."""

    NONE = "none"
    ENDS_EARLY = "ends_early"
    DROPS = "drops"
    STALLS = "stalls"
    DRIPS = "drips"
    HTTP_500 = "http_500"
    HTTP_429 = "http_429"


_STATE_OF_FAULT = {
    Fault.NONE: "completed",
    Fault.ENDS_EARLY: "provider_cut",
    Fault.DROPS: "provider_cut",
    Fault.STALLS: "stalled",
    Fault.DRIPS: "timed_out",
    Fault.HTTP_500: "error",
    Fault.HTTP_429: "error",
}


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """What the provider was about to do to the stream; written before its first byte."""

    stream_id: str
    fault: str


@dataclass(frozen=True, slots=True)
class ClientLine:
    """What the client did.

    ``did`` is ``read`` (until the answer was over, however it was over), ``left`` (in the middle)
    or ``refused`` (never got into the application). ``tokens`` were received, the first one after
    ``first_token_ms``.
    """

    stream_id: str
    did: str
    tokens: int = 0
    status: int = 0
    first_token_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """The end state of every chat that was started, by its stream id."""

    states: Mapping[str, str]

    @property
    def by_state(self) -> dict[str, int]:
        """How many chats ended in each of the six states."""
        counts = Counter(self.states.values())
        return {state: counts[state] for state in STATES}


def true_state(client: ClientLine, provider: ProviderLine | None) -> str | None:
    """Return the end state, or ``None`` where the chat was never started."""
    if client.did == "refused":
        return None
    if client.did == "left":
        return "client_left"
    if provider is None:
        return "error"  # the application never reached the provider
    return _STATE_OF_FAULT[Fault(provider.fault)]


def combine(clients: Iterable[ClientLine], providers: Iterable[ProviderLine]) -> Truth:
    """Return the truth about all chats of ``clients``."""
    served = {line.stream_id: line for line in providers}
    states = {line.stream_id: true_state(line, served.get(line.stream_id)) for line in clients}
    return Truth({stream: state for stream, state in states.items() if state is not None})


class TruthFile:
    """Appends lines of JSON; each is in the file when ``write`` returns."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, line: ProviderLine | ClientLine | Mapping[str, Any]) -> None:
        """Append one line."""
        record = line if isinstance(line, Mapping) else asdict(line)
        self._file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_provider_lines(path: Path) -> list[ProviderLine]:
    """Return the lines that the provider wrote; none where it never wrote."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [ProviderLine(**json.loads(line)) for line in lines if line.endswith("\n")]
