"""What a manifest records of the files that were converted."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from folders import digests
from small_checkpoint import MODEL
from small_conversion import stop_in_file

from gptoss_mlx.checkpoint.safetensors import parse_header, read_header
from gptoss_mlx.convert import source_files
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.manifest import SourceFile, read_manifest

RECIPES = pytest.mark.parametrize("recipe", ["exact", "q8", "small"])
FILES = [f"model-0000{i}-of-00002.safetensors" for i in range(3)]


def sha256_of(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@RECIPES
def test_a_source_in_several_files(sharded: Path, tmp_path: Path, recipe: str) -> None:
    """Each file's length and header; a file of the output for each of them.

    The sha256 as well, of files that cannot be put together again.
    """
    out = tmp_path / "out"
    limit = max((sharded / name).stat().st_size for name in FILES)
    convert_checkpoint(sharded, out, recipe=recipe, shard_bytes=limit)
    recorded = read_manifest(out).source_files

    assert list(recorded) == FILES
    for name, entry in recorded.items():
        path = sharded / name
        content = path.read_bytes()
        header = entry.header.encode()
        sha256 = sha256_of(path) if recipe != "exact" else None
        assert (entry.nbytes, entry.sha256) == (len(content), sha256)
        assert content.startswith(len(header).to_bytes(8, "little") + header)
        parsed = parse_header(header, path, entry.nbytes)
        assert parsed == read_header(path)
    written = sorted(out.glob("*.safetensors"))
    assert len(written) == 3
    for name, path in zip(FILES, written, strict=True):
        modules = [
            {tensor.rpartition(".")[0] for tensor in read_header(file)}
            for file in (sharded / name, path)
        ]
        assert modules[0] == modules[1]


def test_exact_writes_the_tensors_in_the_order_of_the_source(
    sharded: Path, tmp_path: Path
) -> None:
    """So each file is read from its beginning to its end."""
    convert_checkpoint(sharded, tmp_path / "out", recipe="exact", shard_bytes=600_000)

    for name, path in zip(
        FILES, sorted((tmp_path / "out").glob("*.safetensors")), strict=True
    ):
        assert list(read_header(sharded / name)) == list(read_header(path))


@pytest.mark.parametrize("layout", [".", "original"])
@RECIPES
def test_a_source_in_one_file(
    source: Path, tmp_path: Path, layout: str, recipe: str
) -> None:
    """Also in OpenAI's layout, where q, k and v are one tensor."""
    convert_checkpoint(source / layout, tmp_path / "out", recipe=recipe)
    (entry,) = read_manifest(tmp_path / "out").source_files.values()

    assert entry.sha256 == (
        sha256_of(source / layout / MODEL) if recipe != "exact" else None
    )


def test_a_source_file_that_is_larger_than_a_file(q8: Path, source: Path) -> None:
    """It is not read in its own order: no digest, but the header."""
    (entry,) = read_manifest(q8).source_files.values()

    assert entry.sha256 is None
    assert entry.nbytes == (source / MODEL).stat().st_size


def test_digests_that_are_known(sharded: Path, tmp_path: Path) -> None:
    """They are recorded as they are; the others are computed."""
    known = {FILES[1]: "1" * 64, "config.json": "2" * 64}
    convert_checkpoint(sharded, tmp_path / "out", recipe="q8", sha256=known)
    recorded = read_manifest(tmp_path / "out").source_files

    assert {name: entry.sha256 for name, entry in recorded.items()} == {
        FILES[0]: sha256_of(sharded / FILES[0]),
        FILES[1]: "1" * 64,
        FILES[2]: sha256_of(sharded / FILES[2]),
    }


@RECIPES
def test_after_an_interruption(sharded: Path, tmp_path: Path, recipe: str) -> None:
    """The digests of files that were read before are kept: the folder is the same."""
    options: dict[str, Any] = {"recipe": recipe, "shard_bytes": 600_000}
    convert_checkpoint(sharded, tmp_path / "whole", **options)
    for number in (1, 2):
        out, partial = tmp_path / "out", tmp_path / "out.partial"
        stop = stop_in_file(number, partial)
        with pytest.raises(KeyboardInterrupt):
            convert_checkpoint(sharded, out, progress=stop, **options)
        convert_checkpoint(sharded, out, **options)

        assert digests(out) == digests(tmp_path / "whole")
        shutil.rmtree(out)


def test_headers_that_are_too_large_to_record(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest stays readable: it has none of them."""
    monkeypatch.setattr(source_files, "MAX_HEADERS_BYTES", 5_000)
    convert_checkpoint(sharded, tmp_path / "out", recipe="exact")

    assert read_manifest(tmp_path / "out").source_files == {}
    verify_checkpoint(tmp_path / "out", sharded)


def test_what_is_recorded_is_read_back(sharded: Path, tmp_path: Path) -> None:
    """The manifest's own reader gives what was written, also of strange headers."""
    folder = tmp_path / "strange"
    shutil.copytree(sharded, folder)
    path = folder / FILES[0]
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = '{"__metadata__":{"é\U0001f600":"\\u00e9"},' + content[9:end].decode() + "  \n"
    path.write_bytes(
        len(header.encode()).to_bytes(8, "little") + header.encode() + content[end:]
    )
    convert_checkpoint(folder, tmp_path / "out", recipe="exact")

    assert read_manifest(tmp_path / "out").source_files[FILES[0]] == SourceFile(
        path.stat().st_size, None, header
    )
