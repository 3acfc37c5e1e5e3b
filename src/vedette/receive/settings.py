"""Settings of pushed metrics: the sections ``otlp`` (named as in Prometheus) and ``push``."""

from __future__ import annotations

from dataclasses import dataclass, field

from vedette.kit.yamlpos import Section
from vedette.receive.wire.otlp import OtlpOptions
from vedette.receive.wire.otlp_names import Strategy


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """The section ``otlp``.

    Attributes:
        options: how metrics are translated.
        grpc: ``host:port`` to listen on for gRPC; empty: not at all.
    """

    options: OtlpOptions = field(default_factory=OtlpOptions)
    grpc: str = ""


@dataclass(frozen=True, slots=True)
class PushSettings:
    """The section ``push``: how pushed groups are kept.

    Attributes:
        interval_ms: how often all groups are stored again.
        groups, samples: most groups, and most samples of all groups.
    """

    interval_ms: int = 15_000
    groups: int = 10_000
    samples: int = 200_000


def read_push(section: Section | None) -> PushSettings:
    """Return the settings in ``section``; what does not fit becomes a fault of it."""
    default = PushSettings()
    if section is None:
        return default
    settings = PushSettings(
        interval_ms=section.duration("interval", default.interval_ms, minimum=1_000),
        groups=section.integer("max_groups", default.groups, 1),
        samples=section.integer("max_samples", default.samples, 1),
    )
    section.done()
    return settings


def read_otlp(section: Section | None) -> OtlpSettings:
    """Return the settings in ``section``; what does not fit becomes a fault of it."""
    if section is None:
        return OtlpSettings()
    default = OtlpOptions()
    strategy = section.text("translation_strategy", default.strategy.value)
    known = [each.value for each in Strategy]
    if strategy not in known:
        fix = f"known are {', '.join(known)}"
        section.fault("translation_strategy", f'"{strategy}" is no strategy', fix)
        strategy = default.strategy.value
    options = OtlpOptions(
        strategy=Strategy(strategy),
        promote=tuple(section.texts("promote_resource_attributes")),
        promote_all=section.boolean("promote_all_resource_attributes", False),
        ignore=tuple(section.texts("ignore_resource_attributes")),
        keep_identifying=section.boolean("keep_identifying_resource_attributes", False),
        promote_scope=section.boolean("promote_scope_metadata", False),
        key_prefix=section.boolean("label_name_underscore_sanitization", True),
        keep_underscores=section.boolean("label_name_preserve_multiple_underscores", True),
        convert_histograms=section.boolean("convert_histograms_to_nhcb", False),
        points=section.integer("max_points", default.points, 1),
    )
    if options.ignore and not options.promote_all:
        fix = "set promote_all_resource_attributes: true, or leave it out"
        section.fault("ignore_resource_attributes", "it has no effect on its own", fix)
    if options.promote and options.promote_all:
        fix = "leave one of the two out"
        section.fault(
            "promote_resource_attributes", "all resource attributes are promoted already", fix
        )
    grpc = section.text("grpc")
    host, _, port = grpc.rpartition(":")
    if grpc and not (host and port.isdecimal() and int(port) < 65_536):
        section.fault("grpc", f'"{grpc}" is no address', 'write it like "127.0.0.1:4317"')
    section.done()
    return OtlpSettings(options, grpc)
