"""Verifies a folder that was converted elsewhere before it is loaded for the first time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx.checkpoint.layout import check_folder
from gptoss_mlx.errors import VerifyError
from gptoss_mlx.manifest import read_summary
from gptoss_mlx.manifest_digest import model_id, name_of
from gptoss_mlx.verified import has_manifest, is_verified

__all__ = ["verify_before_load"]

LINE_S = 10.0

HINT = "Fetch it again from where it came from, or convert the release: gptoss-mlx convert"


def verify_before_load(folder: Path, say: Callable[[str], None]) -> None:
    """Verify a converted folder, unless that was done and no file has changed since.

    What was converted, pulled or downloaded here is verified. A folder without a manifest
    (a release, or one that another program has made) has nothing to be compared with.

    Args:
        folder: A checkpoint's folder.
        say: Called with a line at the begin and at the end, and every ten seconds.

    Raises:
        VerifyError: Something differs from the manifest.
        NoCheckpointError: ``folder`` is not a folder.
        UnfinishedError: The folder is still being written.
        StorageError: A file cannot be read.
    """
    check_folder(folder)
    if not has_manifest(folder) or is_verified(folder):
        return
    # Imported here: it imports MLX, and a verified folder needs none of it.
    from gptoss_mlx.convert.verify import verify_checkpoint

    name = name_of(folder)
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > LINE_S:
            said = time.monotonic()
            say(f"Verifying {name}: {_size_text(done)} of {_size_text(total)}")

    try:
        summary = read_summary(folder)
        nbytes = sum(entry.nbytes for entry in summary.files.values()) if summary else 0
        say(f"Verifying {name} ({_size_text(nbytes)}) before its first load.")
        report = verify_checkpoint(folder, progress=progress)
    except VerifyError as error:
        if error.hint == VerifyError.hint:
            error.hint = HINT
        raise
    line = name if report.digest is None else model_id(name, report.digest)
    if is_verified(folder):
        say(f"Verified {line}: every byte is as the manifest says.")
    else:
        say(f"Verified {line}, which cannot be recorded: it is verified each time.")


def _size_text(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"
