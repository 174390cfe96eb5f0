"""No file of others, however damaged, may crash its reader, hang it or fill the memory."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import pytest
from evidence import Note
from hostile import ESCAPES, raw_controls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import load_model
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.safetensors import Header
from gptoss_mlx.convert.journal import Journal
from gptoss_mlx.convert.journal import read_journal as read_journal_file
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.convert.writer import write_file
from gptoss_mlx.errors import ConvertError, GptOssError
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.sampling import read_sampling_defaults
from gptoss_mlx.generation.saved_cache import load_cache, save_cache
from gptoss_mlx.manifest import read_summary
from gptoss_mlx.manifest_digest import digest_line
from gptoss_mlx.model.transformer import Model

SECONDS = 2.0
PEAK_BYTES = 300 * 10**6

# Hypothesis's DataObject.draw, which is no DrawFn to the type checker.
Draw = Callable[[st.SearchStrategy[Any]], Any]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(ESCAPES)
    | st.sampled_from([4.5, -1, 1 << 63, 10**39, 10**400, "U8", "BF16", "../x", [0, 0]]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)

LARGE = (
    b"[" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b"1" * 5_000,
    b'{"a": 1' + b"0" * 4_000 + b"}",
    b'"' + b"\\u001b" * 200_000 + b'"',
    b"[" + b"0," * 1_000_000 + b"0]",
    b"{" + b'"a":0,' * 200_000 + b'"a":0}',
    b"version https://git-lfs.github.com/spec/v1\n",
    bytes(9 << 20),
)
"""Whole files: deep, long, or another thing."""


class Kind(NamedTuple):
    """A file of others.

    Attributes:
        folder: Where it is, whole, with what else its reader needs.
        file: Its name there.
        read: Reads it out of a copy of the folder, and checks what came of it.
    """

    folder: Path
    file: str
    read: Callable[[Path], None]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Whole files of all kinds."""
    base = tmp_path_factory.mktemp("whole")
    source, converted = base / "source", base / "converted"
    write_source(source)
    convert_checkpoint(source, converted, recipe="exact")
    model = load_model(source, dtype=mx.float32)
    (base / "cache").mkdir()
    save_cache(read_text(PromptCache(model)), model, base / "cache" / "chat.safetensors")
    (base / "partial").mkdir()
    write_journal(base / "partial")
    kinds = {
        name: Kind(source, name, read_source)
        for name in ("config.json", "model.safetensors", "model.safetensors.index.json")
    }
    return kinds | {
        "generation_config.json": Kind(source, "generation_config.json", read_defaults),
        "manifest": Kind(converted, "manifest.json", read_converted),
        "journal": Kind(base / "partial", ".journal.json", read_journal),
        "prompt cache": Kind(
            base / "cache", "chat.safetensors", lambda folder: read_cache(folder, model)
        ),
    }


def write_source(folder: Path) -> None:
    """Write a checkpoint of one small file, with an index and defaults for sampling."""
    write_tiny_checkpoint(
        folder,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_local_experts=4,
    )
    shutil.rmtree(folder / "original")
    path = folder / "model.safetensors"
    header, data = split(path.read_bytes())
    path.write_bytes(join({"__metadata__": {"format": "pt"}} | header, data))
    index = {"weight_map": dict.fromkeys(open_checkpoint(folder).files, path.name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    defaults = {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(defaults))


def read_text(cache: PromptCache) -> PromptCache:
    """Read 40 tokens, with places to go back to."""
    cache.boundaries = frozenset({7})
    cache.prefill(cache.begin([7, 1, 2, 3] * 10))
    return cache


KEY = {
    "recipe": "q8",
    "source": {"folder": "/nowhere", "files": {"s": ["/nowhere/s", 1, 10, 2]}},
}


def write_journal(partial: Path) -> None:
    """Write what a conversion has left that was stopped after one file.

    What that file was made of is removed.
    """
    headers = {"s": Header(b"{}", 10)}
    journal = Journal(partial, KEY, {"a": ["x"], "b": []}, print, headers=headers)
    written = write_file(partial / "a", b"content")
    journal.record("a", replace(written, tensors={"x": written.sha256}))
    journal.record_removal("s")


def read_source(folder: Path) -> None:
    """Open a checkpoint: what opens can be read to the last tensor."""
    checkpoint = open_checkpoint(folder)
    for name, view in checkpoint.parameters.items():
        array = checkpoint.array(name)
        mx.eval(array)
        assert array.shape == view.shape


def read_defaults(folder: Path) -> None:
    """Read the defaults for sampling, and draw by them."""
    sampling = read_sampling_defaults(folder)
    token = sampling.sampler()(mx.log(mx.array([[0.25, 0.5, 0.25]])))
    assert token.tolist() in ([0], [1], [2])


def read_converted(folder: Path) -> None:
    """Read the manifest as the store and as ``verify`` do; its digest is right."""
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sha256").write_bytes(digest_line(content))
    summary = read_summary(folder)
    assert verify_checkpoint(folder).tensors == 41
    assert summary is not None


def read_journal(folder: Path) -> None:
    """Take over what is left, or leave it alone: there is no source to write it again."""
    content = read_journal_file(folder)
    known = content is not None and content.headers == {"s": Header(b"{}", 10)}
    made_of = {"s": ["a"]} if known else {}
    size = (folder / "a").stat().st_size
    try:
        journal = Journal(folder, KEY, {"a": ["x"], "b": []}, print, irreplaceable=made_of)
    except ConvertError:
        assert (folder / "a").stat().st_size == size
        raise
    assert {name: file.nbytes for name, file in journal.files.items()} in ({}, {"a": 7})


def read_cache(folder: Path, model: Model) -> None:
    """Load a prompt cache, and go on with it and back in it."""
    cache = load_cache(folder / "chat.safetensors", model)
    for prompt in ([*cache.tokens, 5], [*cache.tokens[:9], 6], [8]):
        hidden = cache.prefill(cache.begin(prompt))
        assert hidden is not None
        assert hidden.shape == (1, 1, 32)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a safetensors file apart: header and data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join(header: object, data: bytes) -> bytes:
    """Put a safetensors file together."""
    content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + data


def mutate_json(draw: Draw, value: Any) -> Any:
    """Replace, drop or rename something at a random depth of ``value``."""
    if isinstance(value, list) and value and draw(st.booleans()):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], mutate_json(draw, value[i]), *value[i + 1 :]]
    if isinstance(value, dict) and value and draw(st.integers(0, 7)):
        key = draw(st.sampled_from(sorted(value)))
        kind = draw(st.sampled_from(["inside", "inside", "drop", "rename"]))
        rest = {k: v for k, v in value.items() if k != key}
        if kind == "drop":
            return rest
        if kind == "rename":
            name = draw(st.text(max_size=30) | st.sampled_from(ESCAPES))
            return {**rest, name: value[key]}
        return {**value, key: mutate_json(draw, value[key])}
    return draw(json_values)


def forge(draw: Draw, content: bytes) -> bytes:
    """Change what a prompt cache's file says of itself, and correct its sha256."""
    header, data = split(content)
    header.pop("__metadata__", None)
    arrays = {
        name: data[slice(*entry["data_offsets"])]
        for name, entry in header.items()
        if name != "sha256"
    }
    about = mutate_json(draw, json.loads(arrays["about"]))
    arrays["about"] = json.dumps(about).encode()
    header["about"]["shape"] = [len(arrays["about"])]
    digest = hashlib.sha256()
    for name in sorted(arrays):
        entry = header[name]
        digest.update(f"{name} {entry['dtype']} {tuple(entry['shape'])}\n".encode())
        digest.update(arrays[name])
    arrays["sha256"] = digest.digest()
    end, parts = 0, []
    for name, part in arrays.items():
        header[name]["data_offsets"] = [end, end := end + len(part)]
        parts.append(part)
    return join(header, b"".join(parts))


def mutate(draw: Draw, content: bytes, file: str) -> bytes:
    """Damage ``content``."""
    damages = ["cut", "bytes", "json", "json", "length", "append", "forge", "large"]
    damage = draw(st.sampled_from(damages))
    is_tensors = file.endswith(".safetensors")
    if damage == "large":
        large: bytes = draw(st.sampled_from(LARGE))
        return len(large).to_bytes(8, "little") + large if is_tensors else large
    if damage == "cut":
        length: int = draw(st.integers(0, len(content) - 1))
        return content[:length]
    if damage == "append":
        more: bytes = draw(st.binary(min_size=1, max_size=16))
        return content + more
    if damage == "length" and is_tensors:
        said: int = draw(st.integers(0, 2**64 - 1) | st.integers(0, 10_000))
        return said.to_bytes(8, "little") + content[8:]
    if damage == "forge" and file == "chat.safetensors":
        return forge(draw, content)
    if damage in ("json", "forge"):
        if is_tensors:
            header, tensors = split(content)
            return join(mutate_json(draw, header), tensors)
        return json.dumps(mutate_json(draw, json.loads(content))).encode()
    edge = min(len(content), 4_000)
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        mutated[draw(st.integers(0, edge - 1))] = draw(st.integers(0, 255))
    return bytes(mutated)


def peak_bytes(*, anew: bool = False) -> int:
    """Return the most memory that was held, since it was asked ``anew`` on Linux."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def check(draw: Draw, kind: Kind, folder: Path) -> None:
    """Damage a file and read it: a right result, or a named error that can be shown."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kind.folder, folder)
    path = folder / kind.file
    path.write_bytes(mutate(draw, path.read_bytes(), kind.file))
    before, begun = peak_bytes(anew=True), time.process_time()
    refused: GptOssError | None = None
    try:
        kind.read(folder)
    except GptOssError as error:
        refused = error
    if refused is not None:
        assert raw_controls(str(refused) + refused.hint, allowed="") == []
        assert len(str(refused)) < 2_000
        assert refused.hint[0].isupper()
    assert time.process_time() - begun < SECONDS
    assert peak_bytes() - before < PEAK_BYTES


@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_a_mutated_file_is_read_or_raises_a_named_error(
    count: int, kinds: dict[str, Kind], tmp_path: Path, note: Note
) -> None:
    """Nothing raw in its message, in 2 s and 300 MB at most."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count == 200,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def examples(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(kinds)))
        check(data.draw, kinds[name], tmp_path / "mutated")

    examples()
    note("mutations", count)


def test_the_unmutated_files_are_read(kinds: dict[str, Kind], tmp_path: Path) -> None:
    """The mutations above start from something that works."""
    for name, kind in kinds.items():
        shutil.copytree(kind.folder, tmp_path / name)
        kind.read(tmp_path / name)
    assert Journal(tmp_path / "journal", KEY, {"a": ["x"], "b": []}, print).files
    with pytest.raises(ConvertError, match="must be continued"):
        Journal(tmp_path / "journal", {}, {"a": ["x"], "b": []}, print)
