"""Receivers: read with positions, secrets hidden, one channel for each entry."""

from __future__ import annotations

import random
from pathlib import Path

from tests.unit.notify.support import inline
from vedette.kit.clock import FakeClock
from vedette.kit.secrets import Secret
from vedette.kit.yamlpos import Fault, Section, compose
from vedette.notify.registry import Surroundings, build_receivers, read_receivers
from vedette.notify.settings import LogSettings, ReceiverSettings, WebhookSettings


def read(text: str, folder: Path) -> tuple[tuple[ReceiverSettings, ...], str]:
    """Read receivers and return them with the faults as text."""
    faults: list[Fault] = []
    root = compose(text, "vedette.yml", faults)
    assert root is not None
    found = read_receivers(
        Section(root, faults, "alerting"), {"HOOK": "https://hooks.example/env"}, folder
    )
    return found, "\n".join(map(str, sorted(faults)))


def test_receivers(tmp_path: Path) -> None:
    """All keys arrive; a secret may come from environment or file; keys of the log are stable."""
    (tmp_path / "hook").write_text("https://hooks.example/file\n")
    found, faults = read(
        """
receivers:
  - name: ops
    webhook:
      - {url: "http://127.0.0.1:1234/a", send_resolved: false, allow_private: true, timeout: 2s,
         max_alerts: 5}
      - url_env: HOOK
      - url_file: hook
    log: [{}]
  - name: nobody
""",
        tmp_path,
    )
    assert faults == ""
    ops, nobody = found
    assert ops.channels == (
        ("webhook", WebhookSettings(Secret("http://127.0.0.1:1234/a"), False, True, 2000, 5)),
        ("webhook", WebhookSettings(Secret("https://hooks.example/env"))),
        ("webhook", WebhookSettings(Secret("https://hooks.example/file"))),
        ("log", LogSettings()),
    )
    assert nobody.channels == ()
    around = Surroundings(FakeClock(), tmp_path, inline, chance=random.Random(1))
    built = build_receivers(found, around)
    assert [one.key for one in built["ops"]] == [
        "ops/webhook/0",
        "ops/webhook/1",
        "ops/webhook/2",
        "ops/log/0",
    ]
    assert [one.send_resolved for one in built["ops"]] == [False, True, True, True]
    assert built["nobody"] == ()


def test_faults_name_their_place_and_no_secret(tmp_path: Path) -> None:
    """Missing, double, unreadable and impossible values are faults; addresses are not shown."""
    _, faults = read(
        """
receivers:
  - name: ops
    webhook:
      - {send_resolved: maybe}
      - {url: "ftp://user:hunter2@host/", url_env: HOOK}
      - {url: "ftp://user:hunter2@host/"}
      - {url_env: NONE}
      - {url_file: none}
      - {url: "http://[::1/hunter2"}
      - {url: "http://host/hunter 2"}
    slak: []
  - name: ops
  - {}
""",
        tmp_path,
    )
    for part in [
        ':5:9: give one of "url", "url_env" and "url_file"; here: none',
        ':5:25: "send_resolved" must be true or false',
        ":6:9: give one of",
        ":7:15: the webhook's address must begin with http:// or https://",
        ":8:19: the environment has no NONE",
        ":9:20: cannot be read",
        ":10:15: the webhook's address cannot be read",
        ":11:15: the webhook's address holds spaces",
        ':12:5: unknown key "slak"',
        ':13:11: the receiver "ops" is defined twice',
        ':14:5: a receiver lacks "name"',
    ]:
        assert part in faults, (part, faults)
    assert "hunter" not in faults


def test_a_secret_hides_itself() -> None:
    """Neither printing nor a dataclass around it shows the text."""
    settings = WebhookSettings(Secret("https://host/token"))
    assert "token" not in f"{settings} {settings!r} {settings.url} {settings.url!r}"
    assert settings.url.reveal() == "https://host/token"
