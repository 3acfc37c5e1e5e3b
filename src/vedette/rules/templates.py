"""Templates of labels and annotations: what they may insert, and how they are expanded.

The language is Go's ``text/template`` (:mod:`vedette.rules.gotemplate`) with the functions of
Prometheus (:mod:`vedette.rules.template_functions`). Steps, output, depth and queries are limited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vedette.model.labels import Labels
from vedette.rules.gotemplate.execute import Callee, Execution, Limits
from vedette.rules.gotemplate.nodes import Text, Tree
from vedette.rules.gotemplate.parser import parse_template
from vedette.rules.gotemplate.values import Struct, TemplateError, Texts, Value, go_float
from vedette.rules.template_functions import BOUND, FUNCTIONS, bound

__all__ = ["Template", "TemplateData", "TemplateError", "compile_template", "go_float", "literal"]

MAX_TEMPLATE = 16_384
MAX_OUTPUT = 65_536
_NAMES = frozenset(FUNCTIONS) | frozenset(BOUND)
_VARIABLES = ("$", "$labels", "$externalLabels", "$externalURL", "$value")

Found = Sequence[tuple[Labels, Value]]
"""What a query within a template yields: labels (the name included) and value of each series."""


def _no_query(_: str) -> Found:
    raise TemplateError("there is nothing to query here")


@dataclass(frozen=True, slots=True)
class Surrounding:
    """What all templates of one evaluation see.

    Attributes:
        query: evaluates PromQL at the evaluation's time; raises ``TemplateError``.
        now_seconds: the evaluation's time.
    """

    external_labels: Labels = field(default_factory=Labels)
    external_url: str = ""
    query: Callable[[str], Found] = _no_query
    now_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TemplateData:
    """What a template may insert: the series' labels (the metric name too), the value, the rest."""

    labels: Labels
    value: Value
    around: Surrounding = Surrounding()


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read without fault; ``text`` is its source."""

    text: str
    tree: Tree

    @property
    def plain(self) -> bool:
        """Whether nothing in it hangs on the data."""
        return all(isinstance(node, Text) for node in self.tree.nodes)

    def expand(self, data: TemplateData) -> str:
        """Return the text for ``data``.

        Raises:
            TemplateError: a function does not take this value, or a limit is passed.
        """
        if self.plain:
            return "".join(node.text for node in self.tree.nodes if isinstance(node, Text))
        around = data.around
        fields: Mapping[str, Value] = {
            "Labels": Texts(data.labels.as_dict()),
            "ExternalLabels": Texts(around.external_labels.as_dict()),
            "ExternalURL": around.external_url,
            "Value": data.value,
        }
        variables = {
            "$labels": fields["Labels"],
            "$externalLabels": fields["ExternalLabels"],
            "$externalURL": fields["ExternalURL"],
            "$value": fields["Value"],
        }

        def query(text: str) -> list[Struct]:
            return [_sample(labels, value) for labels, value in around.query(text)]

        functions = {**FUNCTIONS, **bound(query, around.external_url, around.now_seconds)}
        functions["tmpl"] = Callee(lambda name, value: run.invoked(str(name), value), 2, 2)
        run = Execution(self.tree, functions, variables, Limits(output=MAX_OUTPUT))
        return run.run(Struct("template.AlertData", fields))


def _sample(labels: Labels, value: Value) -> Struct:
    fields: dict[str, Value] = {"Labels": Texts(labels.as_dict()), "Value": value}
    return Struct("*template.sample", fields)


def compile_template(text: str) -> Template:
    """Return ``text`` as a template.

    Raises:
        TemplateError: the text is not a template; says where.
    """
    if len(text) > MAX_TEMPLATE:
        raise TemplateError(f"the template is longer than {MAX_TEMPLATE} characters")
    return Template(text, parse_template(text, _NAMES, _VARIABLES))


def literal(text: str) -> Template:
    """Return a template that expands to ``text`` as it is."""
    return Template(text, Tree((Text(text),), {}))
