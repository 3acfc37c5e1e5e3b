"""The few file operations that the spool needs, and a double that crashes.

``kill -9`` proves nothing about fsync: the kernel keeps what a dead process wrote. `CrashFiles`
forgets what was not synced, names in the folder included, as a power cut does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
from pathlib import Path
from typing import Protocol

import numpy as np

from vedette.storage.interface import StorageError


class SpoolFile(Protocol):
    """A new file that grows at its end."""

    def write(self, data: bytes) -> None:
        """Append ``data``; on ``OSError`` any part of it may have been written."""
        ...

    def sync(self) -> None:
        """Return when the content is on stable storage."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def close(self) -> None:
        """Give up the file."""
        ...


class SpoolFiles(Protocol):
    """One folder of files; every method but ``names`` may raise ``OSError``."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        ...

    def create(self, name: str) -> SpoolFile:
        """Create a file that does not exist."""
        ...

    def read(self, name: str) -> bytes | memoryview:
        """Return the content."""
        ...

    def read_part(self, name: str, begin: int, end: int) -> bytes:
        """Return the bytes from ``begin`` to ``end``, fewer where the file is shorter."""
        ...

    def truncate(self, name: str, size: int) -> None:
        """Cut a file to ``size`` bytes and sync it."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file."""
        ...

    def sync_names(self) -> None:
        """Return when creations, renamings and removals are on stable storage."""
        ...

    def close(self) -> None:
        """Give up the folder."""
        ...


class _OsFile:
    def __init__(self, path: Path) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        os.close(self._fd)


_LOCK = "lock"


class OsFiles:
    """A folder of the file system, held by one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder``, creating it.

        Raises:
            StorageError: another process holds it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StorageError(
                f"{folder} is in use by another process; stop it, or choose another data folder"
            ) from None

    def names(self) -> list[str]:
        """Return the names of all files but the lock, sorted."""
        return sorted(p.name for p in self._folder.iterdir() if p.is_file() and p.name != _LOCK)

    def create(self, name: str) -> SpoolFile:
        """Create a file that does not exist."""
        return _OsFile(self._folder / name)

    def read(self, name: str) -> memoryview:
        """Return the content."""
        with (self._folder / name).open("rb", buffering=0) as file:
            # Memory of numpy comes in large pages, which cost a fraction to take.
            content = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            size = 0
            while size < len(content) and (more := file.readinto(content[size:].data)):
                size += more
        return content[:size].data

    def read_part(self, name: str, begin: int, end: int) -> bytes:
        """Return the bytes from ``begin`` to ``end``, fewer where the file is shorter."""
        with (self._folder / name).open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file to ``size`` bytes and sync it."""
        with (self._folder / name).open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        (self._folder / old).rename(self._folder / new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._folder / name).unlink()

    def sync_names(self) -> None:
        """Sync the folder."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.synced = b""
        self.dropped: list[slice] = []


class _CrashFile:
    def __init__(self, files: CrashFiles, inode: _Inode) -> None:
        self._files = files
        self._inode = inode

    def write(self, data: bytes) -> None:
        self._files.step()
        if self._files.full:
            # A full disk takes what still fits.
            self._inode.content += data[: len(data) // 2]
            raise OSError(28, "No space left on device")
        self._inode.content += data

    def sync(self) -> None:
        self._files.step()
        inode = self._inode
        if self._files.sick:
            # A kernel that failed to write a page forgets that it is dirty: a later sync that
            # goes well says nothing about it.
            inode.dropped.append(slice(len(inode.synced), len(inode.content)))
            raise OSError(5, "Input/output error")
        durable = bytearray(inode.content)
        for span in inode.dropped:
            durable[span] = bytes(len(durable[span]))
        inode.synced = bytes(durable)

    def truncate(self, size: int) -> None:
        self._files.step()
        if self._files.sick:
            raise OSError(5, "Input/output error")
        del self._inode.content[size:]

    def close(self) -> None:
        with contextlib.suppress(CrashError):
            self._files.step()


class CrashError(OSError):
    """The machine has stopped: no operation after this one does anything."""


class CrashFiles:
    """A folder in memory that can lose what was not synced.

    ``fuse`` counts down with every operation; when it reaches zero the operation, and each one
    after it, raises ``CrashError``. ``full`` makes writes fail as on a full disk, ``sick`` makes
    syncs and cuts fail as on a broken one. After a crash :meth:`after_crash` returns the folder as
    the next start finds it.
    """

    def __init__(self) -> None:
        self._live: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self.fuse = -1
        self.full = False
        self.sick = False

    def step(self) -> None:
        """Count one operation."""
        if self.fuse == 0:
            raise CrashError(5, "the machine has stopped")
        self.fuse -= self.fuse > 0

    def after_crash(self, dice: random.Random) -> CrashFiles:
        """Return what a crash leaves: synced bytes, and by chance some of those that were not."""
        left = CrashFiles()
        names = self._live if dice.random() < 0.3 else self._durable
        for name, inode in names.items():
            copy = _Inode()
            content = inode.synced
            if inode.content.startswith(content) and dice.random() < 0.5:
                extra = inode.content[len(content) :]
                content += bytes(extra[: dice.randint(0, len(extra))])
            copy.content, copy.synced = bytearray(content), content
            left._live[name] = left._durable[name] = copy
        return left

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(self._live)

    def create(self, name: str) -> SpoolFile:
        """Create a file that does not exist."""
        self.step()
        if self.full:
            raise OSError(28, "No space left on device")
        if name in self._live:
            raise FileExistsError(name)
        inode = self._live[name] = _Inode()
        return _CrashFile(self, inode)

    def read(self, name: str) -> bytes:
        """Return the content."""
        self.step()
        return bytes(self._live[name].content)

    def read_part(self, name: str, begin: int, end: int) -> bytes:
        """Return the bytes from ``begin`` to ``end``, fewer where the file is shorter."""
        self.step()
        if name not in self._live:
            raise FileNotFoundError(name)
        return bytes(self._live[name].content[begin:end])

    def truncate(self, name: str, size: int) -> None:
        """Cut a file to ``size`` bytes and sync it."""
        self.step()
        inode = self._live[name]
        del inode.content[size:]
        inode.synced = bytes(inode.content)

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        self.step()
        self._live[new] = self._live.pop(old)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.step()
        del self._live[name]

    def sync_names(self) -> None:
        """Make the names durable."""
        self.step()
        self._durable = dict(self._live)

    def close(self) -> None:
        """Do nothing: memory needs no release."""
