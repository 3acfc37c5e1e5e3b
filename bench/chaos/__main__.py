"""Fills a store and maltreats it; prints what was acknowledged, found, lost and doubled.

    python -m bench.chaos --samples 50000000 --kills 20

The store lies in a file system of its own (ext4 in a file; root alone can mount it), so that the
disk can be full; without root the step of the full disk is left out, and the table says so. The
exit code is 1 when anything is missing that was acknowledged and is readable.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from bench.chaos.disk import full_disk, small_disk
from bench.chaos.fill import Fill
from bench.chaos.kills import CONFIG, kill_again_and_again
from bench.chaos.outcome import Outcome, table
from bench.chaos.parts import damaged_part
from bench.chaos.segments import damaged_segment
from bench.processes import vedette

_HOUR_MS = 3_600_000
_STEPS = ("kills", "disk", "segment", "part")


def main() -> int:
    """Run the steps on one store; return 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="bench.chaos", description=__doc__)
    parser.add_argument("--samples", type=int, default=0, help="fill the store with so many first")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk", type=int, default=4 << 30, help="bytes of the file system")
    parser.add_argument("--steps", default=",".join(_STEPS), help="of: " + ", ".join(_STEPS))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    fill = Fill(options.samples, int(time.time()) * 1000 - 2 * _HOUR_MS)
    outcomes: list[Outcome] = []
    steps = options.steps.split(",")
    with small_disk(options.disk) as (folder, bounded):
        if options.samples:
            with vedette("", folder) as running:
                outcomes.append(fill.write(running))
        if "kills" in steps:
            outcomes += kill_again_and_again(folder, options.kills, rng)
        if "disk" in steps and bounded:
            outcomes += full_disk(folder)
        if "segment" in steps:
            outcomes += damaged_segment(folder, rng)
        if options.samples:
            with vedette(CONFIG, folder) as running:
                outcomes.append(fill.check(running, "the fill, after all this"))
        if "part" in steps:  # the last: what it damages stays damaged
            outcomes += damaged_part(folder)
    print(table(outcomes))
    if not bounded:
        print("left out: the full disk, which needs root for a file system of its own")
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
