"""Errors gptoss-mlx raises on purpose.

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
  - NotFiniteError
  - CacheError
    + SavedCacheError
  - ContextError
  - HarmonyError
  - ToolError
  - DownloadError
  - AnswerError

A message states the rule and then what was found. A hint is the next command, with the
user's own values where they are known. Both are one line, whatever they quote: characters
that a terminal obeys, or nobody sees, are written as escapes.
"""

from __future__ import annotations

import errno
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
    "DownloadError",
    "GptOssError",
    "HarmonyError",
    "ModelNotFoundError",
    "NoCheckpointError",
    "NoPermissionError",
    "NoSpaceError",
    "NotFiniteError",
    "QuantizationError",
    "SavedCacheError",
    "StorageError",
    "ToolError",
    "UnfinishedError",
    "UnsupportedModelError",
    "VerifyError",
    "WrongFileError",
    "storage_errors",
]


class GptOssError(Exception):
    """Base class of every error a caller may want to catch.

    Attributes:
        hint: What the reader can do next, as an imperative sentence.
    """

    hint: str = "Run again with GPTOSS_DEBUG=1 and open an issue with the traceback."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(self._shown(message))
        if hint is not None:
            self.hint = escaped(hint)
        self.add_note(f"Hint: {self.hint}")

    @staticmethod
    def _shown(message: str) -> str:
        return escaped(message)


class ConfigError(GptOssError):
    """config.json cannot be understood."""

    hint = "Fetch config.json again from openai/gpt-oss-20b or openai/gpt-oss-120b."


class UnsupportedModelError(ConfigError):
    """config.json describes a model that this package does not implement."""

    hint = "Use a checkpoint of openai/gpt-oss-20b or openai/gpt-oss-120b."


class CheckpointError(GptOssError):
    """A checkpoint cannot be used: a file or a tensor is missing, or is another."""

    hint = "Fetch the files again from openai/gpt-oss-20b or openai/gpt-oss-120b."


class NoCheckpointError(CheckpointError):
    """A folder holds no checkpoint of a layout that is known."""

    hint = "Name a folder that holds config.json and *.safetensors."


class UnfinishedError(CheckpointError):
    """A folder was being written when its writer stopped."""

    hint = "Run the command that was writing it again: it continues there."


class CorruptFileError(CheckpointError):
    """A file is cut short, or its header contradicts the file or itself."""

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
    """Something is already where a conversion would be put."""

    hint = "Name another destination, or remove that one first."


class VerifyError(GptOssError):
    """A folder is not what its manifest or its source says."""

    hint = "Convert the released checkpoint again: gptoss-mlx convert SRC DST"


class ModelNotFoundError(GptOssError):
    """No model of that name is on this machine."""

    hint = "See which models are here: gptoss-mlx models"


class StorageError(GptOssError):
    """The disk refused a read or a write."""

    hint = "Check the disk, then run the same command again."


class NoSpaceError(StorageError):
    """The disk is full, or would be."""

    hint = "Free some space, then run the same command again."


class NoPermissionError(StorageError):
    """The operating system forbids reading or writing there."""

    hint = "Change the permissions, or name another folder."


class WrongFileError(StorageError):
    """A folder, a pipe, a device, or a file too large, is where a small file must be."""

    hint = "Put the file itself there, or name another folder."


class DataError(GptOssError):
    """A file that ships in the package is missing or was changed."""

    hint = "Reinstall the package: pip install --force-reinstall gptoss-mlx"


class DeviceError(GptOssError):
    """The device cannot compute: its memory is out, it was stopped, or there is none."""

    hint = "Run it again. If it fails again, restart the machine."


class NotFiniteError(GptOssError):
    """The model's logits are no numbers, so no token follows from them."""

    hint = "Fetch or convert the model again: a weight of it is NaN or infinite."


class CacheError(GptOssError):
    """A cache was asked to go back further, or hold more, than it can."""

    hint = "Start from a new cache: model.make_cache()"


class SavedCacheError(CacheError):
    """A prompt cache cannot be taken from a file."""

    hint = "Go on without the file: the conversation is read again."

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class ContextError(GptOssError):
    """A conversation is longer than the model can read."""

    hint = "Start a new conversation, or shorten the question."


class HarmonyError(GptOssError):
    """A conversation, or a list of token ids, is not in the form that harmony has."""

    hint = "See the form of the file: gptoss-mlx harmony render --help"


class ToolError(GptOssError):
    """A tool cannot answer a call as the model made it.

    The model reads the message, which may have several lines.
    """

    hint = "Show the model the message: it may call again."

    @staticmethod
    def _shown(message: str) -> str:
        return without_controls(message)


class AnswerError(GptOssError):
    """A question has no whole answer: it was closed, or the model did not end it."""

    hint = "Ask again."


class DownloadError(GptOssError):
    """A checkpoint cannot be fetched, or is not what was released."""

    hint = "Check the network, then run the same command again: it goes on."


_WRONG_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)


@contextmanager
def storage_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Raise what the operating system says of ``path`` as a StorageError.

    Raises:
        NoSpaceError: The disk or the quota is full.
        NoPermissionError: Access is denied, or the disk is read-only.
        StorageError: Anything else that is an OSError.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(f"{where}: {reason}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise NoPermissionError(f"{where}: {reason}.") from error
        hint = "Name another path." if error.errno in _WRONG_PATH else None
        raise StorageError(f"{where}: {reason}.", hint=hint) from error
