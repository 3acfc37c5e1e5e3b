"""Fetch the peers' binaries from Debian's packages into .peers, without root or services.

Used by tests and benchmarks only. Needs a Debian or Ubuntu machine with `apt-get` and `dpkg`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = (
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "prometheus-blackbox-exporter",
    "prometheus-pushgateway",
    "victoria-metrics",
)
ROOT = Path(__file__).resolve().parent.parent / ".peers"


def missing() -> list[str]:
    """Return the packages that are not unpacked yet."""
    return [name for name in PACKAGES if not (ROOT / "done" / name).exists()]


def fetch(name: str, folder: Path) -> None:
    """Download one package and unpack it into .peers."""
    subprocess.run(
        ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name],
        cwd=folder,
        check=True,
    )
    package = next(folder.glob(f"{name}_*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(ROOT)], check=True)
    (ROOT / "done").mkdir(parents=True, exist_ok=True)
    (ROOT / "done" / name).touch()


def main() -> int:
    """Fetch what is missing; return an exit code."""
    todo = missing()
    if not todo:
        return 0
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        sys.stderr.write("peers come from Debian's packages: apt-get and dpkg are needed\n")
        return 1
    ROOT.mkdir(exist_ok=True)
    for name in todo:
        sys.stderr.write(f"fetching {name}\n")
        with tempfile.TemporaryDirectory() as folder:
            # apt downloads as user _apt, who must be able to enter the folder.
            Path(folder).chmod(0o755)
            try:
                fetch(name, Path(folder))
            except subprocess.CalledProcessError:
                sys.stderr.write(f"could not fetch {name}; run `apt-get update` as root once\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
