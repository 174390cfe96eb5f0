"""A source whose safetensors files are fetched during the conversion, and freed again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .journal import Journal
from .plan import Shard
from .prepare import Preparation
from .source_files import Pinned

__all__ = ["Arrivals", "SourceArrival"]


class Arrivals(Pinned, Protocol):
    """Safetensors files that are not there yet, and can be fetched as often as needed."""

    def begin(self, names: Sequence[str]) -> None:
        """Called once, with the names of the files that are needed, in their order."""

    def wait(self, name: str) -> Path:
        """Return the path of a file, once it is there and has its sha256 and its header.

        Raises:
            GptOssError: It cannot be fetched.
        """

    def free(self, name: str) -> None:
        """Remove a file that is needed no more."""

    def nbytes_to_come(self, name: str) -> int:
        """Return how many bytes of a file are yet to be written to the disk."""

    def nbytes_to_free(self, name: str) -> int:
        """Return how many bytes of the disk are free again once a file is freed."""


class SourceArrival:
    """The source's files that arrive during a conversion, and when each is freed."""

    def __init__(self, plan: Preparation, arrivals: Arrivals) -> None:
        self._source_files = plan.source_files
        self._shards = plan.shards
        self._made_of = plan.made_of
        self._arrivals = arrivals
        self._there: dict[str, Path] = {}

    def begin(self, journal: Journal) -> None:
        """Say which files are needed, by what an earlier run has written."""
        needed: dict[str, None] = {}
        for shard in self._shards:
            if shard.file not in journal.files:
                needed |= dict.fromkeys(shard.source_files)
        self._arrivals.begin(list(needed))

    def wait_for(self, shard: Shard) -> None:
        """Wait until the files are there that a shard is made of.

        Raises:
            GptOssError: One cannot be fetched.
        """
        for name in shard.source_files:
            if name not in self._there:
                self._there[name] = self._arrivals.wait(name)
                self._source_files.arrived(self._there[name])

    def nbytes_written_for(self, shards: Sequence[Shard]) -> list[int]:
        """Return the bytes of source files that are written up to each shard's end.

        One file is fetched ahead.
        """
        names = list(dict.fromkeys(name for s in shards for name in s.source_files))
        to_come = [self._arrivals.nbytes_to_come(name) for name in names]
        return [
            sum(to_come[: max(map(names.index, shard.source_files)) + 2])
            for shard in shards
        ]

    def nbytes_freed_by(self, shard: Shard, partial: Path) -> int:
        """Return the bytes that are free again after a shard."""
        return sum(
            self._arrivals.nbytes_to_free(name)
            for name in shard.source_files
            if max(self._made_of[name]) == shard.file
        )

    def remove_written(self, journal: Journal) -> None:
        """Free the files whose tensors are all in complete files.

        Raises:
            ConvertError: The source has changed.
            StorageError: The system refuses.
        """
        for name, path in sorted(self._there.items()):
            if self._made_of[name] <= journal.files.keys():
                self._source_files.check_unchanged()
                self._source_files.forget(path)
                self._arrivals.free(name)
                del self._there[name]
