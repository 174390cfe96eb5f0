"""Checkpoints of full size, in files that are nearly all holes.

Their tensors are those of openai/gpt-oss-20b and -120b: see ``full_size``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from full_size import cut, original_tensors, root_tensors, write_folder

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.layout import Layout
from gptoss_mlx.checkpoint.safetensors import DTYPE_BYTES
from gptoss_mlx.convert.plan import plan_shards, plan_tensors
from gptoss_mlx.convert.recipes import RECIPES

# Bytes of each file at the root, in the order of their numbers.
ROOT_20B = [4792272488, 4798702184, 4170342232]
ROOT_120B = [
    *(4625017896, 4115586736, 4625017888, 4115586752, 4625017896, 4115586696),
    *(4625017856, 4060267176, 4625017896, 4170906304, 4625017896, 4115586752),
    *(4064660808, 4625017896, 4115586736),
]
ORIGINAL_120B = [
    *(10544040680, 10488721680, 10488721688, 10488721672),
    *(10488721680, 10433402600, 2316539800),
]
TENSOR_BYTES = {32: 13_761_264_768, 128: 65_248_815_744}


@pytest.fixture(scope="module")
def gpt_oss_20b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of openai/gpt-oss-20b."""
    folder = tmp_path_factory.mktemp("20b")
    files = cut(root_tensors(original_tensors(24, 32)), 4.8e9)
    names = [f"model-{i:05}-of-00002.safetensors" for i in range(3)]
    write_folder(folder, dict(zip(names, files, strict=True)), 24)
    return folder


@pytest.fixture(scope="module")
def gpt_oss_120b_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``original/`` of openai/gpt-oss-120b."""
    folder = tmp_path_factory.mktemp("120b-original")
    files = cut(original_tensors(36, 128), 10 << 30)
    names = [f"model--{i:05}-of-00007.safetensors" for i in range(1, 8)]
    write_folder(folder, dict(zip(names, files, strict=True)), 36)
    return folder


@pytest.fixture(scope="module")
def gpt_oss_120b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of openai/gpt-oss-120b, whose layers lie in no order that means anything."""
    folder = tmp_path_factory.mktemp("120b")
    originals = cut(original_tensors(36, 128), 10 << 30)
    walked = [tensor for i in (4, 3, 6, 2, 1, 7, 5) for tensor in originals[i - 1]]
    files = cut(root_tensors(walked), 4.8e9)
    names = [f"model-{i:05}-of-00014.safetensors" for i in range(15)]
    write_folder(folder, dict(zip(names, files, strict=True)), 36)
    return folder


def sizes(folder: Path) -> list[int]:
    """Bytes of each safetensors file, by name."""
    return [path.stat().st_size for path in sorted(folder.glob("*.safetensors"))]


def test_the_files_have_the_published_sizes(
    gpt_oss_20b: Path, gpt_oss_120b: Path, gpt_oss_120b_original: Path
) -> None:
    """To the byte, so that the headers equal the released ones."""
    assert sizes(gpt_oss_20b) == ROOT_20B
    assert sizes(gpt_oss_120b) == ROOT_120B
    assert sizes(gpt_oss_120b_original) == ORIGINAL_120B


def test_20b_opens(gpt_oss_20b: Path) -> None:
    """459 tensors in three files, within which a layer and a module are cut."""
    checkpoint = open_checkpoint(gpt_oss_20b)

    assert checkpoint.layout is Layout.HUGGING_FACE
    assert len(checkpoint.files) == len(checkpoint.views) == 459
    assert checkpoint.nbytes == TENSOR_BYTES[32]
    experts = "model.layers.6.mlp.experts.gate_up_proj"
    bias, blocks = (checkpoint.files[f"{experts}_{kind}"] for kind in ("bias", "blocks"))
    assert (bias.path.name, blocks.path.name) == (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    )


def test_20bs_original_file_opens(tmp_path: Path) -> None:
    """363 tensors in one file."""
    write_folder(tmp_path, {"model.safetensors": original_tensors(24, 32)}, 24)
    checkpoint = open_checkpoint(tmp_path)

    assert sizes(tmp_path) == [13_761_300_984]
    assert checkpoint.layout is Layout.OPENAI
    assert len(checkpoint.files) == 363
    assert checkpoint.nbytes == TENSOR_BYTES[32]


def test_120b_opens(gpt_oss_120b: Path) -> None:
    """687 tensors in fifteen files."""
    checkpoint = open_checkpoint(gpt_oss_120b)

    assert checkpoint.layout is Layout.HUGGING_FACE
    assert len(checkpoint.files) == len(checkpoint.views) == 687
    assert checkpoint.nbytes == TENSOR_BYTES[128]


def test_120bs_original_files_open(gpt_oss_120b_original: Path, gpt_oss_120b: Path) -> None:
    """543 tensors in seven files are the same model as the root's 687."""
    original, root = open_checkpoint(gpt_oss_120b_original), open_checkpoint(gpt_oss_120b)

    assert original.layout is Layout.OPENAI
    assert len(original.files) == 543
    assert original.nbytes == TENSOR_BYTES[128]
    assert {(name, view.shape) for name, view in original.views.items()} == {
        (name, view.shape) for name, view in root.views.items()
    }
    for name in root.views:
        assert original.dtype(name) == root.dtype(name)
        assert original.nbytes_of(name) == root.nbytes_of(name)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("fixture", ["gpt_oss_20b", "gpt_oss_120b"])
def test_a_converted_file_for_each_released_one(
    fixture: str, recipe: str, request: pytest.FixtureRequest
) -> None:
    """In its order, and with every tensor aligned: so each file is read and hashed once."""
    checkpoint = open_checkpoint(request.getfixturevalue(fixture))
    shards = plan_shards(plan_tensors(checkpoint, RECIPES[recipe]))

    assert len(shards) == len({tensor.path for tensor in checkpoint.files.values()})
    for shard in shards:
        sources = [(tensor.source_file, tensor.source_start) for tensor in shard.tensors]
        assert sources == sorted(sources)
        offset = 0
        for tensor in shard.tensors:
            assert offset % DTYPE_BYTES[tensor.dtype] == 0
            offset += tensor.nbytes
        assert offset < 5_000_000_000


MEASURE = """
import resource, sys, time
from pathlib import Path
from gptoss_mlx.checkpoint.folder import open_checkpoint

def peak_bytes():
    if sys.platform == "linux":
        # Here ru_maxrss begins with what the parent process had.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

started = time.perf_counter()
checkpoint = open_checkpoint(Path(sys.argv[1]))
print(time.perf_counter() - started, peak_bytes(), "mlx" in sys.modules)
array = checkpoint.array("model.norm.weight")
assert not array.any().item()
print(0, peak_bytes(), True)
"""


@pytest.mark.parametrize("fixture", ["gpt_oss_120b", "gpt_oss_120b_original"])
def test_65_gigabytes_open_in_a_second_and_little_memory(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    """Under 1 s and 200 MB without MLX; one small tensor then takes no other with it."""
    folder = request.getfixturevalue(fixture)

    lines = subprocess.run(
        [sys.executable, "-c", MEASURE, folder], check=True, capture_output=True, text=True
    ).stdout.splitlines()

    seconds, opened_bytes, imported = lines[0].split()
    assert float(seconds) < 1
    assert int(opened_bytes) < 200e6
    assert imported == "False"
    assert int(lines[1].split()[1]) < 400e6
