"""Errors that gptoss-mlx raises on purpose.

* GptOssError
  - ConfigError
    + UnsupportedModelError
  - CheckpointError
    + NoCheckpointError
    + UnfinishedError
    + CorruptFileError
    + QuantizationError
  - ConvertError
    + DestinationExistsError
  - VerifyError
  - ModelNotFoundError
  - StorageError
    + NoSpaceError
    + NoPermissionError
    + WrongFileError
  - DataError
  - DeviceError
  - NotEnoughMemoryError
  - PlotError
  - NotFiniteError
  - CacheError
    + SavedCacheError
  - ContextError
  - HarmonyError
  - ToolError
  - DownloadError
  - ShareError
  - AnswerError
  - FitError
    + TraceError
  - UnreadableDocumentError
  - DocumentNotFoundError
  - LibraryNotFoundError

A message states the rule and then the value found. A hint is the next command, with the
user's own values if known. Both are one line, whatever they quote: characters
that a terminal obeys, or that are invisible, are written as escapes.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from gptoss_mlx.controls import escaped, without_controls

__all__ = [
    "AnswerError",
    "CacheError",
    "CheckpointError",
    "ConfigError",
    "ContextError",
    "ConvertError",
    "CorruptFileError",
    "DataError",
    "DestinationExistsError",
    "DeviceError",
    "DocumentNotFoundError",
    "DownloadError",
    "FitError",
    "GptOssError",
    "HarmonyError",
    "LibraryNotFoundError",
    "ModelNotFoundError",
    "NoCheckpointError",
    "NoPermissionError",
    "NoSpaceError",
    "NotEnoughMemoryError",
    "NotFiniteError",
    "PlotError",
    "QuantizationError",
    "SavedCacheError",
    "ShareError",
    "StorageError",
    "ToolError",
    "TraceError",
    "UnfinishedError",
    "UnreadableDocumentError",
    "UnsupportedModelError",
    "VerifyError",
    "WrongFileError",
    "storage_errors",
]


class GptOssError(Exception):
    """Base class of all errors of gptoss-mlx.

    Attributes:
        hint: What the user can do next, as an imperative sentence.
    """

    hint: str = "Run again with GPTOSS_DEBUG=1 and open an issue with the traceback."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(self._shown(message))
        if hint is not None:
            self.hint = escaped(hint)
        self.add_note(f"Hint: {self.hint}")

    def replace_hint(self, hint: str) -> None:
        """Give another hint, by who knows more of what is wrong."""
        self.__notes__.remove(f"Hint: {self.hint}")
        self.hint = escaped(hint)
        self.add_note(f"Hint: {self.hint}")

    @staticmethod
    def _shown(message: str) -> str:
        return escaped(message)


class ConfigError(GptOssError):
    """config.json is invalid."""

    hint = "Download config.json again from openai/gpt-oss-20b or openai/gpt-oss-120b."


class UnsupportedModelError(ConfigError):
    """config.json describes a model that this package does not implement."""

    hint = "Use a checkpoint of openai/gpt-oss-20b or openai/gpt-oss-120b."


class CheckpointError(GptOssError):
    """A checkpoint cannot be used: a file or a tensor is missing or differs."""

    hint = "Download the files again from openai/gpt-oss-20b or openai/gpt-oss-120b."


class NoCheckpointError(CheckpointError):
    """A folder has no checkpoint in a known layout."""

    hint = "Name a folder with config.json and *.safetensors."


class UnfinishedError(CheckpointError):
    """A folder whose download or conversion stopped before its end."""

    hint = "Run its download or convert command again: it continues there."


class CorruptFileError(CheckpointError):
    """A file is truncated, or its header contradicts the file or itself."""

    def __init__(
        self, path: str | PathLike[str], reason: str, *, hint: str | None = None
    ) -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = path


class QuantizationError(CheckpointError):
    """The quantization dictionary of config.json does not describe the tensors."""

    hint = "Convert the released checkpoint again: gptoss-mlx convert SRC DST"


class ConvertError(GptOssError):
    """A checkpoint cannot be converted as asked."""

    hint = "See the recipes and layouts: gptoss-mlx convert --help"


class DestinationExistsError(ConvertError):
    """The destination of a conversion already exists."""

    hint = "Choose another destination, or remove that one first."


class VerifyError(GptOssError):
    """A folder differs from its manifest or its source."""

    hint = "Convert the released checkpoint again: gptoss-mlx convert SRC DST"


class ModelNotFoundError(GptOssError):
    """No model on this machine has that name."""

    hint = "List the models on this machine: gptoss-mlx models"


class StorageError(GptOssError):
    """The system refused a read or a write."""

    hint = "Check the disk, then run the same command again."


class NoSpaceError(StorageError):
    """The disk is full, or would be."""

    hint = "Free some space, then run the same command again."


class NoPermissionError(StorageError):
    """The operating system forbids reading or writing there."""

    hint = "Change the permissions, or name another folder."


class WrongFileError(StorageError):
    """A folder, a pipe, a device or a large file is in place of a small file."""

    hint = "Put the file itself there, or name another folder."


class DataError(GptOssError):
    """A file that ships in the package is missing or was changed."""

    hint = "Reinstall the package: pip install --force-reinstall gptoss-mlx"


class DeviceError(GptOssError):
    """The device cannot compute: out of memory, stopped, or missing."""

    hint = "Run it again. If it fails again, restart the machine."


class NotEnoughMemoryError(GptOssError):
    """A model, or a conversation with it, needs more memory than a program may use."""

    hint = "See what fits this machine: gptoss-mlx fit"


class PlotError(GptOssError):
    """A picture cannot be drawn."""

    hint = "Install what draws it: pip install matplotlib"


class NotFiniteError(GptOssError):
    """The model's logits are NaN or infinite, so no token can be drawn."""

    hint = "Download or convert the model again: a weight is NaN or infinite."


class CacheError(GptOssError):
    """A cache cannot go back further, or hold more."""

    hint = "Start from a new cache: model.make_cache()"


class SavedCacheError(CacheError):
    """A saved prompt cache cannot be loaded."""

    hint = "Continue without the file: the conversation is prefilled again."

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class ContextError(GptOssError):
    """A conversation is longer than the model's context."""

    hint = "Start a new conversation, or shorten the question."


class HarmonyError(GptOssError):
    """A conversation, or a list of token ids, does not have harmony's form."""

    hint = "See the form of the file: gptoss-mlx harmony render --help"


class ToolError(GptOssError):
    """A tool cannot answer a call of the model.

    The model reads the message, which may have several lines.
    """

    hint = "Show the model the message: it may call again."

    @staticmethod
    def _shown(message: str) -> str:
        return without_controls(message)


class AnswerError(GptOssError):
    """A question has no complete answer: it was closed, or the model did not end it."""

    hint = "Ask again."


class DownloadError(GptOssError):
    """A release cannot be downloaded, or differs from the released one."""

    hint = "Check the network, then run the same command again: it continues."


class ShareError(GptOssError):
    """A folder cannot be shared: on the network, on a disk, or on the Hub."""

    hint = "Name another port: gptoss-mlx share MODEL --port 8766"


class FitError(GptOssError):
    """A plan or a simulation cannot be made from the figures that are given."""

    hint = "See which figures it takes: gptoss-mlx fit --help"


class TraceError(FitError):
    """A file is not a routing trace, or a line of it is wrong."""

    hint = "Record the trace again, or leave out --trace: then one is drawn."


class UnreadableDocumentError(GptOssError):
    """A document's text cannot be read.

    Attributes:
        path: The document's.
        reason: Why, in a few words, for a list of skipped files.
    """

    hint = "Save it as PDF with text, DOCX, HTML or plain text, or leave it out."

    def __init__(
        self, path: str | PathLike[str], reason: str, *, hint: str | None = None
    ) -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = path
        self.reason = escaped(reason)


class DocumentNotFoundError(GptOssError):
    """No document of a library has that name."""

    hint = "Search for it: gptoss-mlx library search QUERY"


class LibraryNotFoundError(GptOssError):
    """There is no library of that name, or none of those folders."""

    hint = "List the libraries: gptoss-mlx library list"


_FULL_DISK_ACCESS = (
    "Allow your terminal Full Disk Access in System Settings, Privacy & Security."
)
_WRONG_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)


@contextmanager
def storage_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Raise the operating system's error about ``path`` as a StorageError.

    Raises:
        NoSpaceError: The disk or the quota is full.
        NoPermissionError: Access is denied, or the disk is read-only.
        StorageError: Any other OSError.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(f"{where}: {reason}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            # What macOS answers in Documents and the like; a mode would be EACCES.
            is_private = error.errno == errno.EPERM and sys.platform == "darwin"
            raise NoPermissionError(
                f"{where}: {reason}.", hint=_FULL_DISK_ACCESS if is_private else None
            ) from error
        hint = "Name another path." if error.errno in _WRONG_PATH else None
        raise StorageError(f"{where}: {reason}.", hint=hint) from error
