"""``vedette rules``: check, test, list and export rule files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import orjson
import re2
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vedette.cli.client import DEFAULT_URL, Token, Url, ask
from vedette.kit.yamlpos import Fault
from vedette.query.promql.engine import EngineOptions
from vedette.rules.export import (
    ExportError,
    ListedGroup,
    ListedRule,
    read_answer,
    rule_file,
)
from vedette.rules.files import RuleFiles, read_rules
from vedette.rules.rule import RuleKind
from vedette.rules.testing.cases import TestFile, load_test_file
from vedette.rules.testing.report import FileOutcome, as_json, lines
from vedette.rules.testing.run import run_tests

app = typer.Typer(
    help="Check, test, list and export rules in Prometheus' format.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Ignore = Annotated[
    bool, typer.Option("--ignore-unknown-fields", help="Take unknown keys for remarks.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def _text(path: Path, console: Console) -> str | None:
    """Return the content of ``path`` ("-" is standard input), or say why there is none."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except OSError as error:
        console.print(f"{path}: cannot be read: {error.strerror}", markup=False, style="red")
    except UnicodeDecodeError:
        console.print(f"{path}: cannot be read: it is not UTF-8", markup=False, style="red")
    return None


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Rule files; - is standard input.")],
    ignore_unknown_fields: _Ignore = False,
    lint_fatal: Annotated[
        bool, typer.Option("--lint-fatal", help="Fail for warnings too, such as double rules.")
    ] = False,
    json: _Json = False,
) -> None:
    """Check rule files.

    Prints one line a fault, `file:line:column: what is wrong; how to mend it`. Expressions,
    templates, names and unknown keys are looked at. The exit code is 0 when all files are good,
    1 when one has a fault, 2 when one cannot be read. Warnings (rules that stand twice) do not
    fail a file unless `--lint-fatal`.

    **Examples**

    `vedette rules check rules/*.yml`

    `vedette rules check --ignore-unknown-fields rules-with-remarks.yml`

    `cat rules.yml | vedette rules check -`
    """
    out, err = _console(), _console(stderr=True)
    unreadable, bad = False, False
    found: dict[str, RuleFiles] = {}
    for path in files:
        text = _text(path, err)
        if text is None:
            unreadable = True
            continue
        read = read_rules(text, str(path), ignore_unknown=ignore_unknown_fields)
        found[str(path)] = read
        bad |= bool(read.faults) or (lint_fatal and bool(read.warnings))
    if json:
        _print_json(_check_json(found))
    else:
        for name, read in found.items():
            _print_check(name, read, out, err)
    raise typer.Exit(2 if unreadable else 1 if bad else 0)


def _print_check(name: str, read: RuleFiles, out: Console, err: Console) -> None:
    for fault in read.faults:
        err.print(str(fault), markup=False)
    for warning in read.warnings:
        err.print(f"{warning} (warning)", markup=False, style="yellow")
    if read.faults:
        count = len(read.faults)
        err.print(f"{name}: {count} fault{'s' * (count != 1)}", markup=False, style="bold red")
        return
    rules = [rule for group in read.groups for rule in group.rules]
    alerting = sum(rule.kind is RuleKind.ALERTING for rule in rules)
    groups = len(read.groups)
    out.print(
        f"{name}: good, {groups} group{'s' * (groups != 1)}, {alerting} alerting and "
        f"{len(rules) - alerting} recording rules",
        markup=False,
        style="green",
    )


def _check_json(found: dict[str, RuleFiles]) -> dict[str, object]:
    return {
        "files": [
            {
                "file": name,
                "good": not read.faults,
                "groups": len(read.groups),
                "rules": sum(len(group.rules) for group in read.groups),
                "faults": [_fault_json(fault) for fault in read.faults],
                "warnings": [_fault_json(fault) for fault in read.warnings],
            }
            for name, read in found.items()
        ]
    }


def _fault_json(fault: Fault) -> dict[str, object]:
    return {
        "line": fault.line,
        "column": fault.column,
        "message": fault.message,
        "fix": fault.fix,
    }


@app.command("test")
def run_test_files(
    files: Annotated[list[Path], typer.Argument(help="Test files in promtool's format.")],
    run: Annotated[
        list[str] | None,
        typer.Option("--run", help="Run only tests whose name matches this pattern; repeatable."),
    ] = None,
    ignore_unknown_fields: _Ignore = False,
    json: _Json = False,
) -> None:
    """Run unit tests of rules, in the format of `promtool test rules`.

    Rule files are found relative to the test file. What differs is shown as expected and got.
    The exit code is 0 when all tests pass, 1 when one fails or a file has a fault, 2 when a file
    cannot be read or a pattern is none.

    **Examples**

    `vedette rules test tests.yml`

    `vedette rules test tests/*.yml --run '^latency' --run '^errors'`

    `vedette rules test tests.yml --json`
    """
    out, err = _console(), _console(stderr=True)
    wanted = _wanted(run or [])
    outcomes = []
    for path in files:
        try:
            file = load_test_file(path, ignore_unknown=ignore_unknown_fields)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            err.print(f"{path}: cannot be read: {reason}", markup=False, style="red")
            continue
        groups = [] if file.faults else run_tests(file, _options(file), wanted)
        outcome = FileOutcome(str(path), file.faults, file.warnings, tuple(groups))
        outcomes.append(outcome)
        for tone, line in [] if json else lines(outcome):
            out.print(line, markup=False, style=tone.value)
    if json:
        _print_json({"files": [as_json(outcome) for outcome in outcomes]})
    bad = any(not outcome.passed for outcome in outcomes)
    raise typer.Exit(2 if len(outcomes) < len(files) else 1 if bad else 0)


def _options(file: TestFile) -> EngineOptions:
    return EngineOptions(
        default_step_ms=file.interval_ms,
        experimental_functions=True,
        extended_selectors=True,
        fill_modifiers=True,
    )


def _wanted(patterns: list[str]) -> Callable[[str], bool]:
    """Return the test of a group's name: it matches one of ``patterns``, or there are none."""
    try:
        compiled = [re2.compile(pattern) for pattern in patterns]
    except re2.error:
        raise typer.BadParameter("not a regular expression (RE2)", param_hint="--run") from None
    return lambda name: not compiled or any(one.search(name) for one in compiled)


def _print_json(content: dict[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


_COLOURS = {"firing": "red", "pending": "yellow", "err": "bold red", "ok": "green"}


@app.command("list")
def list_rules(
    url: Url = DEFAULT_URL,
    token: Token = "",
    failing: Annotated[
        bool, typer.Option("--failing", help="Only rules whose latest evaluation failed.")
    ] = False,
    json: _Json = False,
) -> None:
    """List the rules of a running server: state, health, last error, evaluation time.

    The exit code is 0 when every rule is well, 1 when the latest evaluation of one failed, 2 when
    the server cannot be asked.

    **Examples**

    `vedette rules list`

    `vedette rules list --failing --url http://127.0.0.1:9800`

    `vedette rules list --json | jq '.rules[] | select(.state == "firing")'`
    """
    groups = _groups(url, token)
    shown = [
        (group, rule)
        for group in groups
        for rule in group.rules
        if rule.health == "err" or not failing
    ]
    if json:
        _print_json({"rules": [_listed(group, rule) for group, rule in shown]})
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("rule", "group", "state", "health", "ms"):
            table.add_column(title, justify="right" if title == "ms" else "left")
        table.add_column("last error", overflow="fold")
        for group, rule in shown:
            state = rule.state if rule.alerting else "recording"
            table.add_row(
                Text(rule.name),
                Text(group.name),
                Text(state, _COLOURS.get(state, "")),
                Text(rule.health, _COLOURS.get(rule.health, "")),
                f"{rule.seconds * 1000:.1f}",
                Text(rule.last_error),
            )
        Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)
    bad = any(rule.health == "err" for group in groups for rule in group.rules)
    raise typer.Exit(1 if bad else 0)


def _groups(url: str, token: str) -> tuple[ListedGroup, ...]:
    err = _console(stderr=True)
    try:
        return read_answer(ask(url, "/api/v1/rules", token, err))
    except ExportError as error:
        err.print(f"{url}: {error}", markup=False, style="red")
        raise typer.Exit(2) from None


def _listed(group: ListedGroup, rule: ListedRule) -> dict[str, object]:
    return {
        "name": rule.name,
        "group": group.name,
        "file": group.file,
        "type": "alerting" if rule.alerting else "recording",
        "state": rule.state,
        "health": rule.health,
        "last_error": rule.last_error,
        "evaluation_seconds": rule.seconds,
        "last_evaluation": rule.last_evaluation,
    }


@app.command()
def export(
    url: Url = DEFAULT_URL,
    token: Token = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")
    ] = None,
) -> None:
    """Write the rules of a running server as a rule file, which Prometheus takes as well.

    Labels of groups stand in their rules then. Exit code 2: the server cannot be asked, or the
    file cannot be written.

    **Examples**

    `vedette rules export > rules.yml`

    `vedette rules export -o rules.yml && promtool check rules rules.yml`
    """
    text = rule_file(_groups(url, token))
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        message = f"{output}: cannot be written: {error.strerror}"
        _console(stderr=True).print(message, markup=False, style="red")
        raise typer.Exit(2) from None
