"""``python -m tests.promqltest [--json] FILE…`` prints ``FILE: N passed, M failed`` for each."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.promqltest.run import Outcome, run_file


def main() -> int:
    """Run the files that the command line names; 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="tests.promqltest", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each failed case")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document of the failed cases, and the lines to stderr",
    )
    parser.add_argument(
        "--layout",
        choices=("shared", "ragged", "merged"),
        default="shared",
        help="form of the blocks that hold the samples (default: shared)",
    )
    arguments = parser.parse_args()
    lines = sys.stderr if arguments.json else sys.stdout
    outcomes: dict[str, Outcome] = {}
    for path in arguments.files:
        outcome = outcomes[str(path)] = run_file(path, arguments.layout)
        if arguments.verbose:
            print(*(f"{path.name}:{failure}" for failure in outcome.failures), sep="\n", file=lines)
        print(f"{path}: {outcome.passed} passed, {outcome.failed} failed", file=lines, flush=True)
    passed = sum(outcome.passed for outcome in outcomes.values())
    failed = sum(outcome.failed for outcome in outcomes.values())
    print(f"sum: {passed} passed, {failed} failed", file=lines)
    if arguments.json:
        print(json.dumps(document(outcomes), indent=1, ensure_ascii=False))
    return 1 if failed else 0


def document(outcomes: dict[str, Outcome]) -> dict[str, object]:
    """Return what ``--json`` prints of ``outcomes`` by file."""
    return {
        "passed": sum(outcome.passed for outcome in outcomes.values()),
        "failed": sum(outcome.failed for outcome in outcomes.values()),
        "files": [
            {
                "file": name,
                "passed": outcome.passed,
                "failed": outcome.failed,
                "failures": [
                    {"line": each.line, "query": each.query, "reason": each.reason}
                    for each in outcome.failures
                ],
            }
            for name, outcome in outcomes.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
