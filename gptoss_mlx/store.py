"""The models on this machine: the folders in ``GPTOSS_MLX_HOME/models``."""

from __future__ import annotations

import difflib
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.config import RELEASED, ModelConfig
from gptoss_mlx.config_json import read_config
from gptoss_mlx.errors import (
    GptOssError,
    ModelNotFoundError,
    NoCheckpointError,
    storage_errors,
)
from gptoss_mlx.files import expanded, has_file
from gptoss_mlx.home import home
from gptoss_mlx.manifest import read_summary
from gptoss_mlx.manifest_digest import read_digest
from gptoss_mlx.released_names import (
    RECIPE_NAMES,
    is_released_or_demo,
    raise_if_released,
    released_size,
)

__all__ = [
    "StoredModel",
    "describe",
    "find_stored",
    "folder_for",
    "is_model",
    "model_size",
    "models",
    "models_folder",
    "released_models",
    "remove",
    "resolve",
]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A folder of the store.

    Attributes:
        recipe: The recipe of its conversion; None if it was not converted here.
        size: ``20b``, ``120b``, or None for a model of another size.
        nbytes: Bytes of its files.
        layers: None if config.json cannot be read; the same for ``experts``.
        problem: Why it cannot be used, in a sentence; None if no problem was found.
        unfinished: Whether a conversion or a download stopped before its end.
        digest: The sha256 of its manifest, as manifest.sha256 says; None without one.
    """

    name: str
    path: Path
    recipe: str | None = None
    size: str | None = None
    nbytes: int = 0
    layers: int | None = None
    experts: int | None = None
    problem: str | None = None
    unfinished: bool = False
    digest: str | None = None

    @property
    def ready(self) -> bool:
        """Whether it can be opened, as far as can be checked without reading weights."""
        return self.problem is None and not self.unfinished


def models_folder() -> Path:
    """Return the folder of the store's models."""
    return home() / "models"


def folder_for(name: str, recipe: str) -> Path:
    """Return the folder for a model that is converted here.

    Args:
        name: The model's name before the conversion, e.g. ``gpt-oss-20b``.
        recipe: The recipe of the conversion.
    """
    return models_folder() / f"{name}-{recipe}"


def model_size(config: ModelConfig) -> str | None:
    """Return ``20b`` or ``120b``; None for a model of another size."""
    for size, released in RELEASED.items():
        if (config.num_hidden_layers, config.num_local_experts) == (
            released.num_hidden_layers,
            released.num_local_experts,
        ):
            return size
    return None


def models() -> list[StoredModel]:
    """List the models by name, including unfinished and broken ones. No weight is read.

    Raises:
        StorageError: The store cannot be listed.
    """
    folder = models_folder()
    with storage_errors(folder):
        if not folder.is_dir():
            return []
        # Path.is_dir raises an error if access to one of them is denied.
        found = sorted(p for p in folder.iterdir() if os.path.isdir(p))  # noqa: PTH112
    return [describe(path) for path in found if not path.name.startswith(".")]


def describe(path: Path, name: str | None = None) -> StoredModel:
    """Describe a model's folder. No weight is read, and what is wrong is in the result.

    Args:
        path: The folder.
        name: The model's name. None: the folder's.
    """
    name = path.name if name is None else name
    unfinished = path.name.endswith(".partial")
    nbytes = 0
    recipe = size = layers = experts = problem = digest = None
    try:
        with storage_errors(path):
            nbytes = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        if unfinished:
            return StoredModel(name, path, nbytes=nbytes, unfinished=True)
        recipe = _check_manifest(path)
        digest = read_digest(path)
        config = read_config(path)
        layers, experts = config.num_hidden_layers, config.num_local_experts
        size = model_size(config)
    except GptOssError as error:
        problem = str(error)
    except Exception as error:
        problem = f"{path}: cannot be read: {error!r}."
    return StoredModel(
        name, path, recipe, size, nbytes, layers, experts, problem, digest=digest
    )


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Find a model's folder.

    Args:
        name_or_path: A name in the store, its beginning (``20b`` matches
            ``gpt-oss-20b-…``), a released model's repository, or a folder. A plain word
            is read as a name first.

    Raises:
        ModelNotFoundError: Neither a model nor a folder matches.
        StorageError: The store cannot be listed.
    """
    text = os.fspath(name_or_path)
    if not text.strip() or not text.isprintable():
        raise ModelNotFoundError(f"A model's name must be printable but is {text!r}.")
    path = expanded(text)
    is_word = path.name == text and text not in (".", "..")
    with storage_errors(path):
        if not is_word and path.is_dir():
            return path
    size = released_size(text)
    names = [text] if size is None else [text, size]
    stored = models() if is_word or size is not None else []
    for name in names:
        if (chosen := _choose(name, stored)) is not None:
            return chosen.path
    with storage_errors(path):
        if path.is_dir():
            return path
    for model in stored:
        if model.unfinished and any(_matches(model.name, name) for name in names):
            raise ModelNotFoundError(
                f"The model {text!r} must be complete, but {model.path} is unfinished.",
                hint="Run its download or convert command again: it continues there.",
            )
    raise_if_released(text)
    raise ModelNotFoundError(
        f"{text!r} is not a folder or a model in {models_folder()}.",
        hint=_suggest(text, stored),
    )


def is_model(name_or_path: str) -> bool:
    """Whether this names a stored or a released model."""
    if is_released_or_demo(name_or_path):
        return True
    try:
        return resolve(name_or_path).is_dir()
    except GptOssError:
        return False


def find_stored(name: str) -> StoredModel:
    """Find a model by its folder's name or a short one, also if unfinished or broken.

    Raises:
        ModelNotFoundError: No model matches, or more than one.
        StorageError: The store cannot be listed.
    """
    stored = models()
    exact = [model for model in stored if model.name == name]
    size = released_size(name)
    names = [name] if size is None else [name, size]
    found = exact or [m for m in stored if any(_matches(m.name, n) for n in names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelNotFoundError(
            f"{name!r} matches {len(found)} models in {models_folder()}.",
            hint=f"Name one: {', '.join(model.name for model in found)}",
        )
    raise_if_released(name)
    raise ModelNotFoundError(f"{name!r} is not a model in {models_folder()}.")


def remove(model: StoredModel) -> None:
    """Remove a model's folder.

    It is renamed first, so that a partly removed folder is not listed as a model.

    Raises:
        StorageError: The system refused.
    """
    with storage_errors(model.path):
        if model.path.is_symlink():
            model.path.unlink()
            return
        doomed = model.path.with_name(f".removed-{secrets.token_hex(4)}")
        model.path.rename(doomed)
        shutil.rmtree(doomed)


def released_models(found: Iterable[StoredModel] | None = None) -> list[StoredModel]:
    """List the models of gpt-oss-120b and -20b that are ready, in this order.

    The preferred recipe of each comes first.

    Args:
        found: The models to choose from. None: those of the store.

    Raises:
        StorageError: The store cannot be listed.
    """
    sizes = list(RELEASED)
    found = models() if found is None else found
    ours = [model for model in found if model.ready and model.size is not None]
    return sorted(ours, key=lambda m: (-sizes.index(m.size or ""), _preference(m)))


def _choose(name: str, stored: list[StoredModel]) -> StoredModel | None:
    whole = [model for model in stored if not model.unfinished]
    for model in whole:
        if model.name == name:
            return model
    matching = [
        model for model in whole if model.problem is None and _matches(model.name, name)
    ]

    return min(matching, key=_preference, default=None)


def _preference(model: StoredModel) -> int:
    known = model.recipe in RECIPE_NAMES
    return RECIPE_NAMES.index(model.recipe or "") if known else len(RECIPE_NAMES)


def _matches(stored: str, name: str) -> bool:
    stored = stored.removesuffix(".partial")
    return any(
        stored == start or stored.startswith(f"{start}-")
        for start in (name, f"gpt-oss-{name}")
    )


def _suggest(name: str, stored: list[StoredModel]) -> str:
    names = [model.name for model in stored if not model.unfinished]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if close:
        return f"Name one of these: {', '.join(close)}"
    if name == "demo":
        return "Open it once, which creates it: gptoss-mlx chat demo"
    if not names:
        return "There are no models yet: gptoss-mlx download 20b"
    return ModelNotFoundError.hint


def _check_manifest(folder: Path) -> str | None:
    """Return the recipe, after a check that every file exists with its length."""
    manifest = read_summary(folder)
    if manifest is None:
        return None
    for name, entry in manifest.files.items():
        file = folder / name
        if not has_file(file):
            raise NoCheckpointError(f"{name} is missing.")
        with storage_errors(file):
            nbytes = file.stat().st_size
        if nbytes != entry.nbytes:
            raise NoCheckpointError(
                f"{name} must have {entry.nbytes} bytes but has {nbytes}."
            )
    return manifest.recipe
