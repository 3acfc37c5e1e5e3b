"""One round of rules that may be evaluated side by side: asks, and decides what becomes of each.

Runs in a worker thread. Nothing is written here: what shall be is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vedette.model.alerts import AlertInstance
from vedette.model.labels import Labels
from vedette.model.results import QueryResult, VectorResult
from vedette.rules.alignment import Part
from vedette.rules.evaluate import Evaluation, RuleError, evaluate, rows_in_order, template_value
from vedette.rules.gotemplate.values import TemplateError
from vedette.rules.ports import Session
from vedette.rules.rule import Rule, RuleKind
from vedette.rules.templates import Found, Surrounding

_NOTHING = Evaluation()


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule after its evaluation; ``error`` says why there is none."""

    rule: Rule
    done: Evaluation
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """What all rules of a round share.

    Attributes:
        now: ms of the evaluation; asked: ms that the expressions are evaluated at.
        previous: instances of each rule, by its key.
        seconds: a monotonic clock.
    """

    session: Session
    now: int
    asked: int
    previous: Mapping[str, Sequence[AlertInstance]]
    sequence: int
    limit: int
    external_labels: Labels
    external_url: str
    seconds: Callable[[], float]

    def around(self) -> Surrounding:
        """Return what templates see."""
        return Surrounding(self.external_labels, self.external_url, self._query, self.now / 1000)

    def _query(self, text: str) -> Found:
        try:
            rows = rows_in_order(text, self.session.instant(text, self.now))
        # Whatever the engine raises fails this template alone.
        except Exception as error:  # noqa: BLE001
            raise TemplateError(str(error)) from None
        return [(row.labels, template_value(row.value)) for row in rows]


def judge(parts: Sequence[Part], around: Round) -> list[Judged]:
    """Return what becomes of every rule of ``parts``."""
    surrounding = around.around()
    return [one for part in parts for one in _judge_part(part, around, surrounding)]


def _judge_part(part: Part, around: Round, see: Surrounding) -> Iterator[Judged]:
    family = part.shares.family
    if len(family.members) > 1:
        started = around.seconds()
        judged = family.members[0].rule.first_occurrence
        found = part.shares.answer(
            around.asked,
            lambda: around.session.instant(family.query, around.asked, judged),
        )
        if isinstance(found, dict):
            each = (around.seconds() - started) / len(part.rules)
            for rule in part.rules:
                yield _judge_share(rule, found.get(rule.key), around, see, each)
            return
    for rule in part.rules:
        started = around.seconds()
        alone = _answer(rule.expr, rule, around)
        yield _judge_result(rule, alone, around, see, around.seconds() - started)


def _answer(query: str, rule: Rule, around: Round) -> QueryResult | str:
    """Return the result, or what went wrong."""
    try:
        return around.session.instant(query, around.asked, rule.first_occurrence)
    # Whatever an engine can raise fails this rule alone: its alerts stay as they were, the other
    # rules go on, and the status tells.
    except Exception as fault:  # noqa: BLE001
        return str(fault) or type(fault).__name__


def _judge_share(
    rule: Rule, share: VectorResult | None, around: Round, see: Surrounding, seconds: float
) -> Judged:
    if share is None and rule.kind is RuleKind.ALERTING and not around.previous.get(rule.key):
        return Judged(rule, _NOTHING, "", seconds)
    return _judge_result(rule, share, around, see, seconds)


def _judge_result(
    rule: Rule, result: QueryResult | str | None, around: Round, see: Surrounding, seconds: float
) -> Judged:
    if isinstance(result, str):
        return Judged(rule, _NOTHING, result, seconds)
    previous = around.previous.get(rule.key, ())
    try:
        done = evaluate(rule, result, previous, around.now, around.sequence, around.limit, see)
    except RuleError as error:
        return Judged(rule, _NOTHING, str(error), seconds)
    return Judged(rule, done, "", seconds)
