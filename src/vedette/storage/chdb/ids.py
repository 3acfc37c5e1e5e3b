"""Ids of series in the text of a statement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def id_list(ids: NDArray[Any]) -> str:
    """Return ``ids`` S16[S] as string literals; hexadecimal digits alone come out of them."""
    # numpy's S16 drops trailing zero bytes only when it makes Python objects, not here.
    text = np.frombuffer(np.ascontiguousarray(ids).tobytes(), "V16")
    return ", ".join(
        "'" + "".join(f"\\x{byte:02x}" for byte in bytes(one)) + "'" for one in text.tolist()
    )
