"""The sections otlp and push of vedette.yml, and otlp of prometheus.yml."""

from __future__ import annotations

import pytest

from vedette.config.loader import read
from vedette.config.prometheus import read_prometheus
from vedette.kit.yamlpos import Fault
from vedette.receive.settings import OtlpSettings, PushSettings
from vedette.receive.wire.otlp import OtlpOptions
from vedette.receive.wire.otlp_names import Strategy

OTLP = """
otlp:
  translation_strategy: NoTranslation
  promote_resource_attributes: [a.b]
  keep_identifying_resource_attributes: true
  convert_histograms_to_nhcb: true
  label_name_underscore_sanitization: false
"""
WANTED = OtlpOptions(
    strategy=Strategy.NONE,
    promote=("a.b",),
    keep_identifying=True,
    convert_histograms=True,
    key_prefix=False,
)


def test_both_sections_are_read() -> None:
    """Keys are named as in Prometheus; the address of gRPC is Vedette's own."""
    faults: list[Fault] = []
    text = OTLP + "  grpc: 127.0.0.1:4317\npush:\n  interval: 30s\n  max_groups: 5\n"
    settings = read(text, "vedette.yml", faults)
    assert faults == []
    assert settings.otlp == OtlpSettings(WANTED, "127.0.0.1:4317")
    assert settings.push == PushSettings(30_000, 5)


def test_prometheus_own_file_is_read() -> None:
    """Its section otlp is taken as it is, without a warning."""
    faults: list[Fault] = []
    settings = read_prometheus(OTLP, "prometheus.yml", faults)
    assert (faults, settings.warnings) == ([], ())
    assert settings.otlp == OtlpSettings(WANTED)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("translation_strategy: Other", "no strategy"),
        ("ignore_resource_attributes: [a]", "no effect"),
        ("grpc: 4317", "no address"),
        ("grpc: localhost:99999", "no address"),
        ("{promote_resource_attributes: [a], promote_all_resource_attributes: true}", "already"),
        ("unknown: 1", "unknown"),
    ],
)
def test_faults_name_their_line(line: str, message: str) -> None:
    """Each says what is wrong and where."""
    faults: list[Fault] = []
    inner = line if line.startswith("{") else f"\n  {line}"
    read(f"otlp: {inner}\n", "vedette.yml", faults)
    assert len(faults) == 1
    assert message in str(faults[0])
    assert str(faults[0]).startswith("vedette.yml:")
