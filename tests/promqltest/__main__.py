"""``python -m tests.promqltest [-v] FILE…`` prints ``FILE: N passed, M failed`` for each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.promqltest.run import run_file


def main() -> int:
    """Run the files that the command line names; 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="tests.promqltest", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each failed case")
    parser.add_argument(
        "--layout",
        choices=("shared", "ragged", "merged"),
        default="shared",
        help="form of the blocks that hold the samples (default: shared)",
    )
    arguments = parser.parse_args()
    failed = 0
    for path in arguments.files:
        outcome = run_file(path, arguments.layout)
        failed += outcome.failed
        if arguments.verbose:
            print(*outcome.failures, sep="\n")
        print(f"{path}: {outcome.passed} passed, {outcome.failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
