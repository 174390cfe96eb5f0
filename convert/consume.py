"""Removes the source's files that are converted, so that the disk need not hold both.

A file of the Hugging Face cache is a link in ``snapshots`` to a file in ``blobs``: both go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from gptoss_mlx.checkpoint.layout import check_folder
from gptoss_mlx.errors import ConvertError, NoPermissionError, storage_errors

from .journal import Journal
from .plan import Shard
from .prepare import Preparation

__all__ = ["SourceRemoval", "remaining_files"]


class SourceRemoval:
    """The source's files that are removed during a conversion, and when."""

    def __init__(self, plan: Preparation) -> None:
        """Check that the files may be removed.

        Raises:
            ConvertError: A file is a link out of the source, has another name, or is also
                in another revision of the Hugging Face cache; or their headers are too
                large to continue without them.
            NoPermissionError: The folder must not be written.
            StorageError: The system does not allow a look.
        """
        self._source_files = plan.source_files
        self._folder = plan.checkpoint.folder
        self._made_of = plan.made_of
        if not plan.headers:
            raise ConvertError(
                f"--consume records the headers of {self._folder}, but they are too large.",
                hint="Convert without --consume.",
            )
        there = [self._folder / name for name in plan.headers if name not in plan.gone]
        _check_removable(there)

    def nbytes_freed_by(self, shard: Shard, partial: Path) -> int:
        """Return the bytes that are free again on ``partial``'s disk after a shard.

        Raises:
            StorageError: The system does not allow a look.
        """
        freed = 0
        for name, files in self._made_of.items():
            path = self._folder / name
            # The shards are written in order.
            if files and max(files) == shard.file:
                with storage_errors(path):
                    status = path.stat()
                    freed += status.st_size * (status.st_dev == partial.stat().st_dev)
        return freed

    def remove_written(self, journal: Journal) -> None:
        """Remove the files whose tensors are all in complete files.

        Raises:
            ConvertError: The source has changed.
            StorageError: The system refuses.
        """
        for name, files in sorted(self._made_of.items()):
            path = self._folder / name
            if files <= journal.files.keys() and os.path.lexists(path):
                self._source_files.check_unchanged()
                journal.record_removal(name)
                self._source_files.forget(path)
                _remove(path)


def remaining_files(source: Path) -> tuple[list[Path], int]:
    """List the safetensors files of ``source`` that are still there, and their bytes.

    Raises:
        NoCheckpointError: ``source`` is not a folder.
        StorageError: The folder cannot be read.
    """
    check_folder(source)
    with storage_errors(source):
        found = sorted(
            path
            for path in source.iterdir()
            if path.suffix == ".safetensors"
            and not path.name.startswith(".")
            and path.exists()
        )
        return found, sum(path.stat().st_size for path in found)


def _check_removable(paths: Iterable[Path]) -> None:
    """Refuse files that are not the source's own, or that must not be removed.

    Raises:
        ConvertError: A file is a link out of the source, has another name, or is also in
            another revision of the Hugging Face cache.
        NoPermissionError: The folder must not be written.
        StorageError: The system does not allow a look.
    """
    for path in paths:
        with storage_errors(path):
            target = Path(os.path.realpath(path))
            for folder in {path.parent, target.parent}:
                if not os.access(folder, os.W_OK):
                    raise NoPermissionError(f"{folder}: Permission denied.")
            if path.is_symlink():
                _check_link(path, target)
            if target.stat().st_nlink > 1:
                raise _refuse(path, "has another name, so that removing it frees nothing")


def _check_link(path: Path, target: Path) -> None:
    repository = _repository(path)
    if repository is None or target.parent != Path(os.path.realpath(repository / "blobs")):
        raise _refuse(path, f"is a link to {target}")
    for other in sorted((repository / "snapshots").rglob("*.safetensors")):
        is_same = other.parent == path.parent and other.name == path.name
        if not is_same and Path(os.path.realpath(other)) == target:
            raise _refuse(path, f"is also {other}")


def _repository(path: Path) -> Path | None:
    """Return the folder of the Hugging Face cache that a link is in."""
    inner = path.absolute().parent
    root = inner.parent if inner.name == "original" else inner
    is_cached = root.parent.name == "snapshots" and root.parent.parent.name.startswith(
        "models--"
    )
    return root.parent.parent if is_cached else None


def _refuse(path: Path, found: str) -> ConvertError:
    return ConvertError(
        f"--consume removes files that only the source has, but {path} {found}.",
        hint="Convert without --consume, and remove the source yourself.",
    )


def _remove(path: Path) -> None:
    """Remove a file of the source; of a link, the file that it leads to as well.

    Raises:
        StorageError: The system refuses.
    """
    with storage_errors(path):
        if path.is_symlink():
            # First, so that a kill in between leaves no file without a name.
            Path(os.path.realpath(path)).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
