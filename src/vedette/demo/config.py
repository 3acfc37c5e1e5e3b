"""The configuration that the demo's server runs with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vedette.demo.options import APP
from vedette.demo.rules import profile_rules, shorten

SHORTENED = (
    "the streaming profile's rules run with windows of 15 s instead of 5 m and wait 3 s instead "
    "of 1 m, and the page's figures are over 15 s, so that this demo can show them; thresholds are "
    "unchanged"
)


def write_config(folder: Path, server: str, chatapp: str, webhook: str, data_dir: Path) -> Path:
    """Write ``vedette.yml`` and the rules into ``folder``; the others are ``host:port``."""
    (folder / "rules.yml").write_text(shorten(profile_rules()), encoding="utf-8")
    hook = {"url": f"http://{webhook}/alerts", "send_resolved": True, "allow_private": True}
    content: dict[str, Any] = {
        "server": {"listen": server, "data_dir": str(data_dir.resolve())},
        # Short, so that a demo of a minute and a half writes into the column store too.
        "storage": {"segment": "20s"},
        "scrape": [
            {
                "job": APP,
                "app": APP,
                "interval": "1s",
                "timeout": "900ms",
                "targets": [chatapp],
            },
            {
                "job": "vedette",
                "app": "vedette",
                "interval": "5s",
                "timeout": "2s",
                "targets": [server],
            },
        ],
        "dashboard": {"app": APP, "window": "15s"},
        "rules": {"files": ["rules.yml"], "evaluation_interval": "1s"},
        "alerting": {
            "route": {
                "receiver": "demo",
                "group_by": ["alertname"],
                "group_wait": "1s",
                "group_interval": "2s",
                "repeat_interval": "1h",
            },
            # Who was told that it is critical need not be told that it is a warning too.
            "inhibit_rules": [
                {
                    "source_matchers": ['severity="critical"'],
                    "target_matchers": ['severity="warning"'],
                    "equal": ["alertname", "job"],
                }
            ],
            "receivers": [{"name": "demo", "webhook": [hook], "log": [{}]}],
        },
    }
    path = folder / "vedette.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
