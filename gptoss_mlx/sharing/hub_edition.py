"""What of a converted folder goes to the Hub: its listed files, a card and a template.

The card names the digest of the manifest, so this manifest cannot list the card. It lists
all other files, and ``verify`` compares a download with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.config_json import read_config
from gptoss_mlx.convert.chat_template import chat_template
from gptoss_mlx.errors import VerifyError, storage_errors
from gptoss_mlx.files import has_file
from gptoss_mlx.manifest import MANIFEST, MODEL_CARD, FileEntry, read_manifest
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, check_digest, digest_line, model_id
from gptoss_mlx.sharing.model_card import model_card
from gptoss_mlx.store import model_size

__all__ = ["EditionFile", "HubEdition", "hub_edition"]

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True, slots=True)
class EditionFile:
    """A file for the Hub.

    Attributes:
        content: The file's path, or its bytes if it is not in the folder as such.
    """

    nbytes: int
    sha256: str
    content: Path | bytes

    @classmethod
    def of(cls, content: bytes) -> EditionFile:
        """Describe a file by its bytes."""
        return cls(len(content), hashlib.sha256(content).hexdigest(), content)


@dataclass(frozen=True, slots=True)
class HubEdition:
    """The files for a repository.

    Attributes:
        digest: sha256 of its manifest.
        files: Its files, by name.
    """

    name: str
    digest: str
    files: Mapping[str, EditionFile]

    @property
    def model_id(self) -> str:
        """The line that names the model and its bytes."""
        return model_id(self.name, self.digest)


def hub_edition(folder: Path, repository: str) -> HubEdition:
    """Prepare a converted folder for the repository ``USER/REPO``; no weight is read.

    Raises:
        ConfigError: config.json is invalid.
        VerifyError: The folder has no manifest, or differs from it in a length.
        StorageError: A file cannot be read.
    """
    manifest = read_manifest(folder)
    check_digest(folder)
    name = repository.rpartition("/")[2]
    files = {
        file: EditionFile(entry.nbytes, entry.sha256, folder / file)
        for file, entry in manifest.files.items()
        if file != MODEL_CARD
    }
    if TEMPLATE not in files and "tokenizer.json" in files:
        files[TEMPLATE] = EditionFile.of(chat_template("This template").encode())
    listed = {file: FileEntry(f.nbytes, f.sha256) for file, f in files.items()}
    edition = dataclasses.replace(manifest, files=listed)
    content = edition.encode()
    digest = hashlib.sha256(content).hexdigest()
    card = model_card(
        edition,
        name=name,
        repository=repository,
        model_id=model_id(name, digest),
        base=_base(folder, manifest.source.repository),
    )
    files[MANIFEST] = EditionFile.of(content)
    files[MANIFEST_SHA256] = EditionFile.of(digest_line(content))
    files[MODEL_CARD] = EditionFile.of(card.encode(errors="backslashreplace"))
    for entry in files.values():
        if isinstance(entry.content, Path):
            _check_length(entry.content, entry.nbytes)
    return HubEdition(name, digest, files)


def _base(folder: Path, repository: str | None) -> str | None:
    size = model_size(read_config(folder))
    return repository or (f"openai/gpt-oss-{size}" if size else None)


def _check_length(path: Path, nbytes: int) -> None:
    # A link could publish a file from elsewhere.
    with storage_errors(path):
        is_file = has_file(path) and not path.is_symlink()
        found = path.stat().st_size if is_file else None
    if found != nbytes:
        what = "is no file" if found is None else f"has {found:,} bytes"
        raise VerifyError(
            f"{path}: must be a file of {nbytes:,} bytes, as {MANIFEST} says, but {what}."
        )
