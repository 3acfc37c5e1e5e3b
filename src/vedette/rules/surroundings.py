"""Everything that the loops of rules act on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from vedette.kit.clock import Clock
from vedette.kit.complaints import Complaints
from vedette.model.labels import Labels
from vedette.rules.evaluate import Outage
from vedette.rules.ports import AlertSink, AlertStates, Evaluate, Offload, T
from vedette.rules.status import RuleCounters
from vedette.storage.interface import Ingest, SeriesIndex

_log = logging.getLogger(__name__)

ADVICE = (
    "rules go on from memory, and it is tried again; "
    "free space on the disk, or see whether the state's database answers"
)
"""What to do when states or series cannot be written."""


async def in_thread(function: Callable[[], T], /) -> T:
    """Run a blocking call in a thread of the event loop's pool."""
    return await asyncio.to_thread(function)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all groups of rules share.

    Attributes:
        app: the application that recorded series belong to where a rule names none.
        external_url: address of this Vedette in the links of alerts, without a trailing slash.
        external_labels: what templates see under that name.
        outage: see :class:`vedette.rules.settings.RulesSettings`.
        query_offset_ms: for groups that name none.
        concurrency: rules of one group that may be evaluated side by side.
    """

    clock: Clock
    engine: Evaluate
    states: AlertStates
    sink: AlertSink
    index: SeriesIndex
    ingest: Ingest
    offload: Offload = in_thread
    app: str = "default"
    external_url: str = ""
    external_labels: Labels = field(default_factory=Labels)
    outage: Outage = field(default_factory=Outage)
    query_offset_ms: int = 0
    concurrency: int = 2
    counters: RuleCounters = field(default_factory=RuleCounters)
    complaints: Complaints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "complaints", Complaints(_log, self.clock))
