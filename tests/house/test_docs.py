"""What the documents say is true: paths exist, examples load, commands are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import vedette_sdk

from vedette.config.loader import read
from vedette.kit.yamlpos import Fault

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WAY = (ROOT / "docs/the-way-of-a-sample.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_example_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vedette.yml of the README has no fault, given the secret that it names."""
    monkeypatch.setenv("OPS_WEBHOOK", "https://hooks.example/a")
    faults: list[Fault] = []
    for text in _blocks("yaml"):
        read(text, "README.md", faults)
    assert faults == []


def test_the_example_code_uses_names_that_exist() -> None:
    """Every attribute of the SDK that the README uses is public, and the code compiles."""
    for text in _blocks("python"):
        body = "async def example():\n" + "".join(f"    {line}\n" for line in text.splitlines())
        tree = ast.parse(body)
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "vedette"
        }
        assert {name for name in used if not hasattr(vedette_sdk, name)} == set()


def test_make_targets_that_are_named_exist() -> None:
    """Each `make x` of README, contributing and status is a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        assert set(re.findall(r"make ([a-z-]+)", document)) - {"a"} <= targets


def test_files_that_are_named_exist() -> None:
    """Each path in the way of a sample is a file or folder of the repository."""
    places = [ROOT, ROOT / "src/vedette", ROOT / "sdk/python/src"]
    named = re.findall(r"`((?:[\w-]+/)+[\w.-]*)`", WAY)
    assert len(named) > 20
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert missing == []


def test_links_lead_somewhere() -> None:
    """Each relative link and image of the documents exists."""
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document}: {target}"
