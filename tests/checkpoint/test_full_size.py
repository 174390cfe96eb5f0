"""Checkpoints of full size, in files that are nearly all holes.

Their names, shapes, dtypes, order and shards are those of openai/gpt-oss-20b and -120b,
written down here anew, so that the sizes of the published files prove them.

Source: the files' headers and sizes at https://huggingface.co/openai/gpt-oss-20b/tree/main
and https://huggingface.co/openai/gpt-oss-120b/tree/main
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import pytest

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.layout import Layout

HIDDEN, INNER, VOCAB, QUERY, KEY_VALUE, HEADS = 2880, 2880, 201088, 4096, 512, 64

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

# How each tensor of a block is called at the root.
ROOT_NAMES = {
    "attn.norm.scale": "input_layernorm.weight",
    "attn.out.bias": "self_attn.o_proj.bias",
    "attn.out.weight": "self_attn.o_proj.weight",
    "attn.sinks": "self_attn.sinks",
    "mlp.gate.bias": "mlp.router.bias",
    "mlp.gate.weight": "mlp.router.weight",
    "mlp.mlp1_bias": "mlp.experts.gate_up_proj_bias",
    "mlp.mlp1_weight.blocks": "mlp.experts.gate_up_proj_blocks",
    "mlp.mlp1_weight.scales": "mlp.experts.gate_up_proj_scales",
    "mlp.mlp2_bias": "mlp.experts.down_proj_bias",
    "mlp.mlp2_weight.blocks": "mlp.experts.down_proj_blocks",
    "mlp.mlp2_weight.scales": "mlp.experts.down_proj_scales",
    "mlp.norm.scale": "post_attention_layernorm.weight",
}
ROOT_GLOBALS = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.scale": "model.norm.weight",
    "unembedding.weight": "lm_head.weight",
}


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return prod(self.shape) * {"BF16": 2, "U8": 1}[self.dtype]


def original_tensors(layers: int, experts: int) -> list[Tensor]:
    """What OpenAI's own files hold, sorted by name."""
    rows = 2 * INNER
    block: dict[str, tuple[int, ...]] = {
        "attn.norm.scale": (HIDDEN,),
        "attn.out.bias": (HIDDEN,),
        "attn.out.weight": (HIDDEN, QUERY),
        "attn.qkv.bias": (QUERY + 2 * KEY_VALUE,),
        "attn.qkv.weight": (QUERY + 2 * KEY_VALUE, HIDDEN),
        "attn.sinks": (HEADS,),
        "mlp.gate.bias": (experts,),
        "mlp.gate.weight": (experts, HIDDEN),
        "mlp.mlp1_bias": (experts, rows),
        "mlp.mlp1_weight.blocks": (experts, rows, HIDDEN // 32, 16),
        "mlp.mlp1_weight.scales": (experts, rows, HIDDEN // 32),
        "mlp.mlp2_bias": (experts, HIDDEN),
        "mlp.mlp2_weight.blocks": (experts, HIDDEN, INNER // 32, 16),
        "mlp.mlp2_weight.scales": (experts, HIDDEN, INNER // 32),
        "mlp.norm.scale": (HIDDEN,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (VOCAB, HIDDEN),
        "norm.scale": (HIDDEN,),
        "unembedding.weight": (VOCAB, HIDDEN),
    }
    for layer in range(layers):
        shapes |= {f"block.{layer}.{name}": shape for name, shape in block.items()}
    return [
        Tensor(name, "U8" if name.endswith(("blocks", "scales")) else "BF16", shape)
        for name, shape in sorted(shapes.items())
    ]


def root_tensors(original: Iterable[Tensor]) -> list[Tensor]:
    """The same under Hugging Face's names, query, key and value apart."""
    tensors = []
    for tensor in original:
        if tensor.name in ROOT_GLOBALS:
            tensors.append(Tensor(ROOT_GLOBALS[tensor.name], tensor.dtype, tensor.shape))
            continue
        _, layer, rest = tensor.name.split(".", 2)
        prefix = f"model.layers.{layer}"
        if rest in ROOT_NAMES:
            name = f"{prefix}.{ROOT_NAMES[rest]}"
            tensors.append(Tensor(name, tensor.dtype, tensor.shape))
            continue
        suffix = rest.rpartition(".")[2]
        for letter, rows in zip("qkv", (QUERY, KEY_VALUE, KEY_VALUE), strict=True):
            name = f"{prefix}.self_attn.{letter}_proj.{suffix}"
            tensors.append(Tensor(name, tensor.dtype, (rows, *tensor.shape[1:])))
    return tensors


def cut(tensors: Iterable[Tensor], most: float) -> list[list[Tensor]]:
    """Fill files in turn, none with more than ``most`` bytes of tensors."""
    files: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if filled + tensor.nbytes > most:
            files.append([])
            filled = 0
        files[-1].append(tensor)
        filled += tensor.nbytes
    return files


def write_sparse(path: Path, tensors: Iterable[Tensor]) -> None:
    """Write a header as in the released files, and a hole for the data."""
    header, offset = {}, 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.dtype, tensor.name)):
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    os.truncate(path, 8 + len(content) + offset)


def write_folder(folder: Path, files: dict[str, list[Tensor]], layers: int) -> None:
    """Write the files, their index, and OpenAI's config.json, which suits both layouts."""
    weight_map: dict[str, str] = {}
    for file, tensors in files.items():
        write_sparse(folder / file, tensors)
        weight_map |= {tensor.name: file for tensor in tensors}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "num_hidden_layers": layers,
        "num_experts": 32 if layers == 24 else 128,
        "experts_per_token": 4,
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "swiglu_limit": 7.0,
        "head_dim": 64,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 8,
        "sliding_window": 128,
        "initial_context_length": 4096,
        "rope_theta": 150000,
        "rope_scaling_factor": 32.0,
        "rope_ntk_alpha": 1,
        "rope_ntk_beta": 32,
    }
    (folder / "config.json").write_text(json.dumps(config))


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
