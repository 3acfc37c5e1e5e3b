"""The profile's alert rules, shortened so that a demo of a minute and a half can show them."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import yaml

from vedette.kit.duration import format_duration, parse_duration

DIVISOR = 20
_LEAST_MS = 1000
_WINDOW = re.compile(r"\[(\w+)\]")


def profile_rules() -> str:
    """Return the text of the streaming profile's rule file."""
    folder = resources.files("vedette.profiles") / "streaming-chatbot"
    return (folder / "rules.yml").read_text(encoding="utf-8")


def shorten(text: str, divisor: int = DIVISOR) -> str:
    """Return the rule file ``text`` with every window and every ``for`` divided by ``divisor``.

    Nothing becomes shorter than a second. Expressions, thresholds, least sample numbers, labels
    and texts stay as they are; the annotation ``window`` follows.
    """
    content: dict[str, Any] = yaml.safe_load(text)
    for group in content["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _WINDOW.sub(
                lambda found: f"[{_shorter(found[1], divisor)}]", rule["expr"]
            ).strip()
            if "for" in rule:
                rule["for"] = _shorter(rule["for"], divisor)
            # A copy: rules share their annotations by an alias.
            notes = dict(rule.get("annotations", {}))
            if "window" in notes:
                notes["window"] = _shorter(notes["window"], divisor)
            rule["annotations"] = notes
    return yaml.safe_dump(content, sort_keys=False, width=100)


def _shorter(duration: str, divisor: int) -> str:
    return format_duration(max(_LEAST_MS, parse_duration(duration) // divisor))
