"""manifest.sha256: the digest of manifest.json, which holds those of all other files.

It has the form of ``sha256sum``, so that ``sha256sum --check`` reads it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from gptoss_mlx.errors import VerifyError
from gptoss_mlx.files import MAX_JSON_BYTES, has_file, read_file, short
from gptoss_mlx.manifest import MANIFEST, manifest_path

__all__ = [
    "MANIFEST_SHA256",
    "check_digest",
    "digest_line",
    "digest_of",
    "model_id",
    "name_of",
    "read_digest",
]

MANIFEST_SHA256 = "manifest.sha256"
MAX_DIGEST_BYTES = 1 << 12

_LINE = re.compile(rf"([0-9a-f]{{64}})  {re.escape(MANIFEST)}\n".encode())


def digest_line(manifest: bytes) -> bytes:
    """Return the content of manifest.sha256 for the content of manifest.json."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def model_id(name: str, digest: str) -> str:
    """Return the short line that names a model and all of its bytes.

    Args:
        name: The name of its folder.
        digest: The sha256 of its manifest.
    """
    return f"{name}@{digest[:32]}"


def name_of(folder: Path) -> str:
    """Return a model's name: its folder's, or that of its repository on the Hub.

    A folder of the Hugging Face cache, ``models--USER--REPO/snapshots/COMMIT``, has only
    the commit as its own name.
    """
    parts = folder.absolute().parts
    if parts[-2:-1] == ("snapshots",) and parts[-3].startswith("models--"):
        return parts[-3].rpartition("--")[2]
    return parts[-1]


def digest_of(folder: Path) -> str:
    """Return the sha256 of ``folder``'s manifest.json, which stands for all its bytes.

    Raises:
        VerifyError: The folder has none.
        StorageError: It cannot be read.
    """
    content = read_file(manifest_path(folder), max_bytes=MAX_JSON_BYTES)
    return hashlib.sha256(content).hexdigest()


def read_digest(folder: Path) -> str | None:
    """Read the sha256 of the manifest from manifest.sha256, without checking it.

    Returns:
        None if there is no such file, as in folders of format 1.

    Raises:
        VerifyError: The file is not in the form of sha256sum.
        StorageError: It cannot be read.
    """
    path = folder / MANIFEST_SHA256
    if not has_file(path):
        return None
    content = read_file(path, max_bytes=MAX_DIGEST_BYTES)
    found = _LINE.fullmatch(content)
    if found is None:
        raise VerifyError(
            f"{path}: must be a sha256, two spaces and {MANIFEST} but is {short(content)}."
        )
    return found[1].decode()


def check_digest(folder: Path) -> str | None:
    """Compare manifest.json with the digest beside it.

    Returns:
        The sha256 of the manifest; None if the folder has no digest.

    Raises:
        VerifyError: They differ, or one of the files is not in its form.
        StorageError: A file cannot be read.
    """
    path = manifest_path(folder)
    recorded = read_digest(folder)
    if recorded is None:
        return None
    found = digest_of(folder)
    if found == recorded:
        return found
    # Digests of two contents have about 4 of 64 digits in common: if most are, the
    # manifest is unchanged, and the file with its digest is not.
    alike = sum(mine == theirs for mine, theirs in zip(found, recorded, strict=True))
    if alike > 32:
        raise VerifyError(
            f"{folder / MANIFEST_SHA256}: must be the sha256 of {MANIFEST}, {found}, "
            f"but is {recorded}."
        )
    raise VerifyError(
        f"{path}: must have the sha256 {recorded}, as {MANIFEST_SHA256} says, "
        f"but has {found}."
    )
