"""The usual ways of scraping a Kubernetes cluster, each as one word of the configuration.

The annotations ``prometheus.io/scrape``, ``scheme``, ``path``, ``port`` and ``param_<name>`` mean
what they mean to the rules that Prometheus' own example for Kubernetes has spread.
"""

from __future__ import annotations

from vedette.kit.relabel import Action, RelabelRule

KUBERNETES = ("pods", "services")
"""What can be scraped by its annotations: pods by their own, endpoints by their service's."""

_META = "__meta_kubernetes_"


def role_of(what: str) -> str:
    """Return the role of discovery behind a word of ``KUBERNETES``."""
    return {"pods": "pod", "services": "endpoints"}[what]


def annotation_rules(what: str) -> tuple[RelabelRule, ...]:
    """Return the rules for targets of ``what``, one of ``KUBERNETES``."""
    kind = {"pods": "pod", "services": "service"}[what]
    note = f"{_META}{kind}_annotation_prometheus_io_"
    return (
        RelabelRule(Action.KEEP, (f"{note}scrape",), regex="true"),
        RelabelRule(
            Action.DROP, (f"{_META}pod_phase",), regex="Pending|Succeeded|Failed|Completed"
        ),
        RelabelRule(source_labels=(f"{note}scheme",), regex="(https?)", target_label="__scheme__"),
        RelabelRule(source_labels=(f"{note}path",), regex="(.+)", target_label="__metrics_path__"),
        RelabelRule(
            source_labels=("__address__", f"{note}port"),
            regex=r"(\[[^\]]+\]|[^:]+)(?::\d+)?;(\d+)",
            target_label="__address__",
            replacement="$1:$2",
        ),
        RelabelRule(Action.LABELMAP, regex=f"{note}param_(.+)", replacement="__param_$1"),
        RelabelRule(Action.LABELMAP, regex=f"{_META}{kind}_label_(.+)"),
        RelabelRule(source_labels=(f"{_META}namespace",), target_label="namespace"),
        RelabelRule(source_labels=(f"{_META}service_name",), target_label="service"),
        RelabelRule(source_labels=(f"{_META}pod_name",), target_label="pod"),
        RelabelRule(source_labels=(f"{_META}pod_node_name",), target_label="node"),
    )
