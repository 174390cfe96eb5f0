"""The models in the Hugging Face cache that run as they are, by their repositories.

They were downloaded by gptoss-mlx or by another program. OpenAI's releases are not among
them: see ``download``.
"""

from __future__ import annotations

import os
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.layout import INDEX
from gptoss_mlx.errors import GptOssError, ModelNotFoundError
from gptoss_mlx.files import has_file, read_file, read_json_object
from gptoss_mlx.released_names import released_size
from gptoss_mlx.sharing.hub import hub_cache_root
from gptoss_mlx.sharing.repository import parse_repository

__all__ = ["cached_models", "find_cached", "find_model"]

_PREFIX = "models--"
MAX_REF_BYTES = 100


def find_cached(repository: str) -> Path | None:
    """Return the folder of a model in the Hugging Face cache, if it is whole.

    Args:
        repository: ``USER/REPO``.

    Raises:
        DownloadError: The cache cannot be used as the environment sets it up.
    """
    named = parse_repository(repository)
    if named is None or named.digest is not None:
        return None
    folder = Path(hub_cache_root(), f"{_PREFIX}{named.id.replace('/', '--')}")
    try:
        return next((path for path in _snapshots(folder) if _is_whole(path)), None)
    except OSError:
        return None


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """Find a model's folder: see ``store.resolve``; or in the Hugging Face cache.

    Raises:
        ModelNotFoundError: There is none.
        DownloadError: The cache cannot be used as the environment sets it up.
        StorageError: The store cannot be listed.
    """
    try:
        return store.resolve(name_or_path)
    except ModelNotFoundError as error:
        named = parse_repository(os.fspath(name_or_path))
        if named is None or released_size(named.id) is not None:
            raise
        found = find_cached(named.id)
        if found is None:
            error.hint = f"If it is on the Hub: gptoss-mlx download {named.id}"
            raise
        return found


def cached_models() -> list[store.StoredModel]:
    """List the gpt-oss models in the Hugging Face cache by name, each in one revision.

    Raises:
        DownloadError: The cache cannot be used as the environment sets it up.
    """
    try:
        folders = sorted(Path(hub_cache_root()).glob(f"{_PREFIX}*--*"))
    except OSError:
        return []
    found = []
    for folder in folders:
        repository = folder.name.removeprefix(_PREFIX).replace("--", "/")
        if released_size(repository) is not None:
            continue
        path = find_cached(repository)
        if path is None:
            continue
        model = store.describe(path, repository)
        # Without layers it is another model, or a broken one that may be another.
        if model.layers is not None:
            found.append(model)
    return found


def _snapshots(folder: Path) -> list[Path]:
    """List a repository's revisions: first the newest of its main branch."""
    found = sorted((folder / "snapshots").iterdir(), key=_age, reverse=True)
    try:
        newest = read_file(folder / "refs" / "main", max_bytes=MAX_REF_BYTES).decode()
    except (GptOssError, UnicodeDecodeError):
        return found
    return sorted(found, key=lambda path: path.name != newest.strip())


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns


def _is_whole(snapshot: Path) -> bool:
    """Whether all files of the weights are there; another program may not be done yet."""
    try:
        if not has_file(snapshot / "config.json"):
            return False
        if not has_file(snapshot / INDEX):
            return any(has_file(path) for path in snapshot.glob("*.safetensors"))
        weight_map = read_json_object(snapshot / INDEX).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
        return bool(names) and all(has_file(snapshot / str(name)) for name in names)
    except (GptOssError, TypeError):
        return False
