"""All kinds of channels, a line each, and the receivers built from settings."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vedette.kit.clock import Clock
from vedette.kit.yamlpos import Section
from vedette.notify.channel import Channel, Offload, T
from vedette.notify.log import LogChannel
from vedette.notify.retry import NotifyCounters, Retrying
from vedette.notify.settings import (
    ChannelSettings,
    ReceiverSettings,
    read_log,
    read_webhook,
)
from vedette.notify.webhook import WebhookChannel


async def in_thread(function: Callable[[], T], /) -> T:
    """Run a blocking call in a thread of the event loop's pool."""
    return await asyncio.to_thread(function)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What channels act on; ``folder`` is where relative paths of log files lie."""

    clock: Clock
    folder: Path
    offload: Offload = in_thread
    counters: NotifyCounters = field(default_factory=NotifyCounters)
    chance: random.Random = field(default_factory=random.SystemRandom)


@dataclass(frozen=True, slots=True)
class ChannelKind:
    """How a channel's settings are read, and how it is built from them."""

    read: Callable[[Section, Mapping[str, str], Path], ChannelSettings]
    # Each kind builds from its own settings, which `read` has made.
    build: Callable[[Any, Surroundings], Channel]


CHANNELS: Mapping[str, ChannelKind] = {
    "webhook": ChannelKind(read_webhook, lambda settings, around: WebhookChannel(settings)),
    "log": ChannelKind(
        read_log, lambda settings, around: LogChannel(settings, around.folder, around.offload)
    ),
}


def read_receivers(
    alerting: Section, environment: Mapping[str, str], base: Path
) -> tuple[ReceiverSettings, ...]:
    """Return the receivers at ``receivers`` of the section ``alerting``; faults are noted there.

    Args:
        alerting: the section; its other keys are not touched.
        environment: where ``…_env`` keys look.
        base: the folder in which relative ``…_file`` keys look.
    """
    found: dict[str, ReceiverSettings] = {}
    for section in alerting.sections("receivers", "a receiver"):
        section.require("name")
        name = section.text("name")
        if name in found:
            section.fault("name", f'the receiver "{name}" is defined twice')
        channels = tuple(
            (kind, CHANNELS[kind].read(one, environment, base))
            for kind in CHANNELS
            for one in section.sections(kind, f"a {kind}")
        )
        section.done()
        found[name] = ReceiverSettings(name, channels)
    return tuple(found.values())


def build_receivers(
    receivers: Sequence[ReceiverSettings], around: Surroundings
) -> dict[str, tuple[Retrying, ...]]:
    """Return the channels of every receiver, by its name, ready to send."""
    built: dict[str, tuple[Retrying, ...]] = {}
    for receiver in receivers:
        numbers: dict[str, int] = {}
        ready = []
        for kind, settings in receiver.channels:
            number = numbers[kind] = numbers.get(kind, -1) + 1
            ready.append(
                Retrying(
                    CHANNELS[kind].build(settings, around),
                    f"{receiver.name}/{kind}/{number}",
                    settings.send_resolved,
                    around.clock,
                    around.counters,
                    around.chance,
                )
            )
        built[receiver.name] = tuple(ready)
    return built
