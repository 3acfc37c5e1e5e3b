"""One server per data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

from vedette.app.address import StartError

FILE = "lock"


def lock(data_dir: Path) -> TextIO:
    """Return the open lock file; closing it, or the end of the process, gives the folder free.

    Raises:
        StartError: another server has the folder.
    """
    file = (data_dir / FILE).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(20).strip() or "unknown"
        file.close()
        raise StartError(
            f"another vedette (pid {holder}) uses {data_dir}; stop it, or choose --data-dir"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
