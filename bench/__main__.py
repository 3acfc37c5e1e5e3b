"""``make bench``: everything, or the parts that are named."""

from __future__ import annotations

import os
import platform
import sys

from bench import side_by_side, startup
from bench.processes import PEERS


def main() -> int:
    """Run the measurements."""
    if not (PEERS / "prometheus").exists():
        print("the peers are missing: make peers", file=sys.stderr)
        return 1
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    return startup.main() or side_by_side.main()


if __name__ == "__main__":
    sys.exit(main())
