from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from small_conversion import SHARD_BYTES
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.checkpoint.safetensors import read_header
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import VerifyError
from gptoss_mlx.manifest import read_manifest
from gptoss_mlx.manifest_digest import check_digest, digest_line, model_id, read_digest


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in several files. Not to be changed."""
    base = tmp_path_factory.mktemp("digest")
    write_tiny_checkpoint(base / "tiny")
    (base / "tiny" / "tokenizer.json").write_text('{"version": "1.0"}')
    convert_checkpoint(base / "tiny", base / "tiny-q8", shard_bytes=SHARD_BYTES)
    return base / "tiny-q8"


@pytest.fixture
def copy(converted: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(converted, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    """What verify says of a folder that is not right."""
    with pytest.raises(VerifyError) as caught:
        verify_checkpoint(folder)
    return str(caught.value)


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def tensor_at(path: Path, place: int) -> str | None:
    """The name of the tensor that has this byte of a file."""
    if path.suffix == ".safetensors":
        for name, tensor in read_header(path).items():
            if tensor.start <= place < tensor.start + tensor.nbytes:
                return name
    return None


def named(folder: Path, seed: int) -> bool:
    """Flip a bit of some file and back; whether verify names the file and the tensor."""
    random = Random(seed)
    path = random.choice(sorted(folder.iterdir()))
    bit = random.randrange(8 * path.stat().st_size)
    tensor = tensor_at(path, bit // 8)
    flip(path, bit)
    said = refusal(folder)
    flip(path, bit)
    return said.startswith(f"{path}: ") and (tensor is None or repr(tensor) in said)


def test_200_flipped_bits(copy: Path) -> None:
    """Verify names the file, whichever it is, and the tensor if the bit is in one."""
    assert sum(named(copy, seed) for seed in range(200)) == 200
    verify_checkpoint(copy)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256"])
def test_every_bit_of_the_digest_and_many_of_the_manifest(copy: Path, name: str) -> None:
    """The one that was changed is named, not the other."""
    path = copy / name
    nbits = 8 * path.stat().st_size
    for bit in range(0, nbits, max(1, nbits // 500)):
        flip(path, bit)
        with pytest.raises(VerifyError) as caught:
            check_digest(copy)
        assert str(caught.value).startswith(f"{path}: ")
        flip(path, bit)


def test_the_digest_is_that_of_the_manifest(converted: Path) -> None:
    """Verify, the file and sha256sum agree; the short line has half of it."""
    digest = hashlib.sha256((converted / "manifest.json").read_bytes()).hexdigest()
    line = (converted / "manifest.sha256").read_text()

    assert verify_checkpoint(converted).digest == read_digest(converted) == digest
    assert line == f"{digest}  manifest.json\n"
    assert digest_line((converted / "manifest.json").read_bytes()).decode() == line
    assert model_id("tiny-q8", digest) == f"tiny-q8@{digest[:32]}"
    if shutil.which("sha256sum"):
        subprocess.run(
            ["sha256sum", "--check", "--strict", "manifest.sha256"],
            cwd=converted,
            check=True,
            capture_output=True,
        )


def test_another_manifest_in_its_place(copy: Path) -> None:
    """One that is right in itself is refused by the digest."""
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest))

    assert refusal(copy).startswith(f"{path}: must have the sha256 ")


def test_a_digest_that_is_gone(copy: Path) -> None:
    """A folder of this format has one."""
    (copy / "manifest.sha256").unlink()

    assert refusal(copy) == f"{copy} must have manifest.sha256 but does not."


def make_old(folder: Path) -> None:
    """Turn a folder into one of format 1, as earlier versions wrote it."""
    path = folder / "manifest.json"
    keys = json.loads(path.read_text())
    del keys["source_files"]
    path.write_text(json.dumps({**keys, "format": 1}))
    (folder / "manifest.sha256").unlink()


def test_a_folder_of_format_1(copy: Path) -> None:
    """It verifies, and the report says that it has no digest."""
    make_old(copy)

    assert verify_checkpoint(copy).digest is None
    assert read_digest(copy) is None
    assert read_manifest(copy).source_files == {}


def test_a_folder_of_format_1_with_a_digest(copy: Path) -> None:
    """Somebody has made one by hand: it counts."""
    make_old(copy)
    (copy / "manifest.sha256").write_bytes(
        digest_line((copy / "manifest.json").read_bytes())
    )
    assert verify_checkpoint(copy).digest == read_digest(copy)

    (copy / "manifest.json").write_text((copy / "manifest.json").read_text() + " ")
    assert "manifest.json: must have the sha256" in refusal(copy)
