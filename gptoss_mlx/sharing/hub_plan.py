"""Decides what of a repository on the Hub is fetched, before any weight is.

Each file must have the sha256 that the Hub lists, and with a manifest the one in there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_mlx.checkpoint.layout import INDEX
from gptoss_mlx.config_json import parse_config
from gptoss_mlx.errors import (
    ConfigError,
    DownloadError,
    UnsupportedModelError,
    VerifyError,
)
from gptoss_mlx.files import parse_json
from gptoss_mlx.manifest import MANIFEST, MODEL_CARD, Manifest, parse_manifest
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, digest_line
from gptoss_mlx.sharing.hub import Hub
from gptoss_mlx.sharing.hub_listing import Listing, fetch_small
from gptoss_mlx.sharing.releases import Pin, Release

__all__ = ["DownloadPlan", "plan_download"]

CONFIG = "config.json"

# What a model without a manifest needs beside its weights, to run here and in mlx-lm.
_NEEDED = frozenset(
    {
        CONFIG,
        INDEX,
        "LICENSE",
        MODEL_CARD,
        "USAGE_POLICY",
        "chat_template.jinja",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
)


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What is to be fetched, and what of it is here.

    Attributes:
        release: The files, with their sha256.
        small: The contents of the small files, by name.
        digest: sha256 of the manifest; None without one.
    """

    release: Release
    small: Mapping[str, bytes]
    digest: str | None


def plan_download(hub: Hub, listing: Listing, digest: str | None) -> DownloadPlan:
    """Fetch the small files of a model, and decide by them which others are needed.

    Args:
        hub: The repository at the listed commit.
        listing: What it holds.
        digest: The beginning of the sha256 that its manifest must have, or None.

    Raises:
        UnsupportedModelError: It is not gpt-oss.
        DownloadError: The Hub cannot be reached, or what it has is no model, or differs
            from its manifest or the digest.
    """
    there = listing.files
    first = [name for name in (CONFIG, MANIFEST, MANIFEST_SHA256, INDEX) if name in there]
    small = fetch_small(hub, listing, first)
    _check_config(listing, small)
    manifest, found = _manifest(listing, small, digest)
    if manifest is None:
        required = _weights(listing, small.get(INDEX))
        names = required | _NEEDED
    else:
        required = manifest.files.keys() | {MANIFEST}
        names = required | {MANIFEST_SHA256, MODEL_CARD}
    if missing := sorted(required - there.keys()):
        raise _no_model(listing, f"it lacks {missing[0]}")
    names &= there.keys()
    rest = (name for name in names if there[name].sha256 is None and name not in small)
    small |= fetch_small(hub, listing, sorted(rest))
    pins = {
        name: Pin(there[name].nbytes, there[name].sha256 or _sha256(small[name]))
        for name in names
    }
    for name, entry in manifest.files.items() if manifest is not None else ():
        if pins[name] != (entry.nbytes, entry.sha256):
            raise DownloadError(
                f"{name} of {listing.repository} must be as {MANIFEST} there says, but is "
                "another file.",
                hint="Tell its owner: the upload is not whole.",
            )
    small = {name: content for name, content in small.items() if name in names}
    return DownloadPlan(Release(listing.repository, listing.commit, pins), small, found)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_config(listing: Listing, small: Mapping[str, bytes]) -> None:
    """Check that the model is gpt-oss.

    Raises:
        UnsupportedModelError: It is another one.
        DownloadError: It has no config.json, or a wrong one.
    """
    if CONFIG not in small:
        raise _no_model(listing, f"it has no {CONFIG}")
    try:
        keys = parse_json(small[CONFIG])
        if not isinstance(keys, dict):
            raise ValueError("it is no JSON object")
        parse_config(keys, source=f"{CONFIG} of {listing.repository}")
    except UnsupportedModelError as error:
        error.hint = "Name a repository with gpt-oss, or: gptoss-mlx download 20b"
        raise
    except (ConfigError, ValueError) as error:
        raise _no_model(listing, str(error).rstrip(".")) from error


def _manifest(
    listing: Listing, small: Mapping[str, bytes], digest: str | None
) -> tuple[Manifest | None, str | None]:
    """Return the manifest and its sha256, as far as there is one."""
    content = small.get(MANIFEST)
    if content is None:
        if digest is not None or MANIFEST_SHA256 in listing.files:
            raise _no_model(listing, f"it has no {MANIFEST}, which has the digest")
        return None, None
    found = _sha256(content)
    if digest is not None and not found.startswith(digest):
        raise DownloadError(
            f"{listing.repository}'s manifest must have the digest {digest} but has "
            f"{found[: len(digest)]}.",
            hint="Ask whoever told you the digest: the model has been replaced, or is "
            "another one.",
        )
    try:
        manifest = parse_manifest(content, f"{listing.repository}/{MANIFEST}")
    except VerifyError as error:
        raise DownloadError(str(error), hint=error.hint) from error
    if small.get(MANIFEST_SHA256, digest_line(content)) != digest_line(content):
        raise _no_model(listing, f"{MANIFEST_SHA256} is not that of {MANIFEST}")
    return manifest, found


def _weights(listing: Listing, index: bytes | None) -> set[str]:
    """Return the names of the weights' files: those in the index, or all."""
    if index is None:
        weights = {name for name in listing.files if name.endswith(".safetensors")}
    else:
        try:
            weights = set(parse_json(index)["weight_map"].values())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _no_model(listing, f"{INDEX} has another form") from error
    if not weights or not all(isinstance(name, str) for name in weights):
        raise _no_model(listing, "it has no weights in safetensors files")
    return {CONFIG, *weights}


def _no_model(listing: Listing, reason: str) -> DownloadError:
    return DownloadError(
        f"{listing.repository} must be a gpt-oss model in MLX's format, but is not: "
        f"{reason}.",
        hint="Check the name, or download OpenAI's release: gptoss-mlx download 20b",
    )
