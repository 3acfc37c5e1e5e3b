"""Snapshots of everything that is stored, and bringing one back into an empty data folder.

A snapshot is a folder: ``columns/<table>/<part>``, ``state.sqlite`` (unless the state lives in
PostgreSQL, which has its own backups) and ``manifest.json``, written last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import orjson

from vedette.app.engine import open_columns
from vedette.app.lock import lock
from vedette.app.pushes import GROUPS_FILE
from vedette.app.storage import StorageRooms
from vedette.app.transfer import Access, TransferError
from vedette.kit.clock import Clock, iso
from vedette.storage.interface import StorageError

FORMAT = 1
FOLDER = "snapshots"
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished snapshot: its folder, its name, and how many parts it holds by table."""

    path: Path
    tables: dict[str, int]

    @property
    def name(self) -> str:
        """Name of the snapshot."""
        return self.path.name


async def take_snapshot(storage: StorageRooms, data_dir: Path, clock: Clock) -> Snapshot:
    """Return a snapshot, below ``data_dir``, of everything that is acknowledged now.

    Raises:
        StorageError: the store or the disk refused; nothing is left behind.
    """
    await storage.ingest.flush()
    when = iso(clock.now_ms())
    name = when[:19].replace("-", "").replace(":", "") + "Z-" + os.urandom(4).hex()
    return await asyncio.to_thread(_take, storage, data_dir, name, when)


def _take(storage: StorageRooms, data_dir: Path, name: str, when: str) -> Snapshot:
    final = data_dir.resolve() / FOLDER / name
    unfinished = final.with_name(f".{name}")
    try:
        unfinished.mkdir(parents=True, mode=0o700)
        tables = storage.freeze(data_dir / "columns", name, unfinished / "columns")
        state = storage.database.copy_to(unfinished / "state.sqlite")
        _copy_groups(data_dir, unfinished)
        content = {"format": FORMAT, "taken_at": when, "state": state, "tables": tables}
        (unfinished / _MANIFEST).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        unfinished.rename(final)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise StorageError(f"cannot write the snapshot {final}: {error}") from error
    except StorageError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return Snapshot(final, tables)


def _copy_groups(source: Path, target: Path) -> None:
    """Copy the groups that were pushed, where there are any; their file is replaced as a whole."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(source / GROUPS_FILE, target / GROUPS_FILE)


def pack(snapshot: Path, archive: Path) -> int:
    """Write ``snapshot`` into the tar file ``archive``, which must not exist; return its bytes.

    Raises:
        StorageError: the disk refused.
    """
    unfinished = archive.with_name(f".{archive.name}.unfinished")
    try:
        if archive.exists():
            raise StorageError(f"{archive} exists already; choose another name")
        archive.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        # Not compressed again: parts are compressed columns.
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(snapshot, arcname=snapshot.name)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(archive)
        return archive.stat().st_size
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StorageError(f"cannot write {archive}: {error}") from error


def restore(source: Path, data_dir: Path) -> int:
    """Bring the snapshot ``source`` (a folder or a tar file) into the empty ``data_dir``.

    Returns the number of parts.

    Raises:
        StorageError: it is no snapshot of this version, or the folder holds something.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise StorageError(f"{data_dir} is not empty; restore into a new folder")
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if source.is_dir():
        return _restore(source, data_dir)
    unpacked = data_dir / ".restoring"
    try:
        with tarfile.open(source) as tar:
            # The filter refuses links, devices and paths that lead out of the folder.
            tar.extractall(unpacked, filter="data")
        (folder,) = (path for path in unpacked.iterdir() if path.is_dir())
        return _restore(folder, data_dir)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise StorageError(f"{source} is no backup that can be read: {error}") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _restore(source: Path, data_dir: Path) -> int:
    try:
        manifest = orjson.loads((source / _MANIFEST).read_bytes())
        found = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StorageError(f"{source} holds no {_MANIFEST}: it is no finished snapshot") from None
    if found != FORMAT:
        raise StorageError(f"{source} has format {found}, this Vedette reads {FORMAT}")
    with lock(data_dir):
        columns = open_columns(data_dir)
        try:
            parts = columns.attach(data_dir / "columns", source / "columns")
        finally:
            columns.close()
        if manifest.get("state"):
            shutil.copyfile(source / "state.sqlite", data_dir / "state.sqlite")
        _copy_groups(source, data_dir)
    expected = sum(manifest["tables"].values())
    if parts != expected:
        raise StorageError(f"the snapshot should hold {expected} parts, {parts} were there")
    return parts


def request_snapshot(access: Access) -> Snapshot:
    """Let a running server take a snapshot.

    Raises:
        TransferError: it cannot be reached, or it refused.
    """
    with access.client() as client:
        answer = client.post("/api/snapshots")
        if answer.status_code in (401, 403):
            raise TransferError(
                f"{access.url} wants the admin token: give --data-dir, or set VEDETTE_ADMIN_TOKEN"
            )
        if answer.status_code != 200:
            raise TransferError(f"{access.url} answered {answer.status_code}: {answer.text[:300]}")
        return Snapshot(Path(answer.json()["path"]), {})
