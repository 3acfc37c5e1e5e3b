"""``make bench``: everything, or the parts that are named (``make bench ARGS="ranges disk"``)."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from bench import disk, load, rules, scraping, side_by_side, startup, tiny
from bench.processes import PEERS
from bench.report import Report

PARTS: dict[str, Callable[[Report], None]] = {
    "startup": startup.startup,
    "ranges": side_by_side.ranges,
    "instants": side_by_side.instants,
    "tiny": tiny.tiny,
    "disk": disk.disk,
    "scraping": scraping.scraping,
    "memory": load.memory,
    "mixed": load.mixed,
    "rules": rules.rounds,
}


def main() -> int:
    """Run the measurements."""
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        print(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    if not (PEERS / "prometheus").exists():
        print("the peers are missing: make peers", file=sys.stderr)
        return 1
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    report = Report()
    for name in wanted:
        PARTS[name](report)
    print("ratios to the peers, small is good\n" + report.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
