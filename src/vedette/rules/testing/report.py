"""What became of a file of rule tests, as text lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from vedette.kit.duration import format_duration
from vedette.kit.yamlpos import Fault
from vedette.rules.testing.run import Failure, GroupOutcome


class Tone(StrEnum):
    """How a line is meant; a terminal shows it as a colour."""

    GOOD = "green"
    BAD = "red"
    WARNING = "yellow"
    PLAIN = "default"


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file of tests: its faults, or else what became of its test groups."""

    file: str
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    groups: tuple[GroupOutcome, ...]

    @property
    def passed(self) -> bool:
        """Whether there is no fault and no failure."""
        return not self.faults and not any(group.failures for group in self.groups)


def lines(outcome: FileOutcome) -> Iterator[tuple[Tone, str]]:
    """Yield the report of one file, line by line."""
    for fault in outcome.faults:
        yield Tone.BAD, str(fault)
    for warning in outcome.warnings:
        yield Tone.WARNING, f"{warning} (warning)"
    failed = 0
    for group in outcome.groups:
        failed += bool(group.failures)
        if group.failures:
            name = f'"{group.name}"' if group.name else "without a name"
            yield Tone.BAD, f"{outcome.file}:{group.line}: test {name} FAILED"
        for failure in group.failures:
            yield from _failure(failure)
    count = len(outcome.groups)
    if outcome.faults:
        yield Tone.BAD, f"{outcome.file}: FAILED, the files have faults"
    elif failed:
        yield Tone.BAD, f"{outcome.file}: FAILED, {failed} of {count} tests"
    else:
        yield Tone.GOOD, f"{outcome.file}: passed, {count} test{'s' * (count != 1)}"


def _failure(failure: Failure) -> Iterator[tuple[Tone, str]]:
    if failure.kind == "input":
        yield Tone.PLAIN, f"    {failure.what}"
        return
    at = f" at {format_duration(failure.at)}"
    yield Tone.PLAIN, f"  line {failure.line}: {failure.kind} {failure.what}{at}"
    if failure.message:
        yield Tone.BAD, f"    {failure.message}"
        return
    for word, shown, others in (
        ("expected", failure.expected, failure.got),
        ("got     ", failure.got, failure.expected),
    ):
        if not shown:
            yield Tone.PLAIN, f"    {word}   nothing"
        for line in shown:
            # Lines that both sides have stand without a mark, so that the eye finds the others.
            same = line in others
            tone = Tone.PLAIN if same else Tone.GOOD if word == "expected" else Tone.BAD
            yield tone, f"    {word} {' ' if same else '-' if word == 'expected' else '+'} {line}"


def as_json(outcome: FileOutcome) -> dict[str, object]:
    """Return the report of one file for programs."""
    return {
        "file": outcome.file,
        "passed": outcome.passed,
        "faults": [asdict(fault) for fault in outcome.faults],
        "warnings": [asdict(warning) for warning in outcome.warnings],
        "tests": [
            {
                "name": group.name,
                "line": group.line,
                "passed": not group.failures,
                "failures": [asdict(failure) for failure in group.failures],
            }
            for group in outcome.groups
        ],
    }
