"""No file, however damaged, may crash the reader, hang it or raise a bare exception."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from evidence import Note
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.errors import GptOssError

MUTATIONS = 2_000
SAMPLE = 500
FILES = ("config.json", "model.safetensors", "model.safetensors.index.json")

# Hypothesis's DataObject.draw, which is no DrawFn to the type checker.
Draw = Callable[[st.SearchStrategy[Any]], Any]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([4.5, -1, 1 << 63, 10**400, "U8", "BF16", "../x", [4.5], [0, 0]]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of one small file, with an index."""
    folder = tmp_path_factory.mktemp("whole")
    write_tiny_checkpoint(
        folder,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_local_experts=4,
    )
    shutil.rmtree(folder / "original")
    header, data = split((folder / FILES[1]).read_bytes())
    metadata = {"__metadata__": {"format": "pt"}}
    (folder / FILES[1]).write_bytes(join(metadata | header, data))
    names = open_checkpoint(folder).files
    index = {"weight_map": dict.fromkeys(names, "model.safetensors")}
    (folder / FILES[2]).write_text(json.dumps(index))
    return folder


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
            return {**rest, draw(st.text(max_size=30)): value[key]}
        return {**value, key: mutate_json(draw, value[key])}
    return draw(json_values)


def mutate(draw: Draw, content: bytes, file: str) -> bytes:
    """Damage ``content``."""
    kind = draw(st.sampled_from(["cut", "bytes", "json", "json", "length", "append"]))
    is_tensors = file.endswith(".safetensors")
    if kind == "cut":
        length: int = draw(st.integers(0, len(content) - 1))
        return content[:length]
    if kind == "append":
        more: bytes = draw(st.binary(min_size=1, max_size=16))
        return content + more
    if kind == "length" and is_tensors:
        said: int = draw(st.integers(0, 2**64 - 1) | st.integers(0, 10_000))
        return said.to_bytes(8, "little") + content[8:]
    if kind == "json":
        if is_tensors:
            header, tensors = split(content)
            return join(mutate_json(draw, header), tensors)
        return json.dumps(mutate_json(draw, json.loads(content))).encode()
    edge = min(len(content), 4_000)
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        mutated[draw(st.integers(0, edge - 1))] = draw(st.integers(0, 255))
    return bytes(mutated)


many = settings(
    max_examples=MUTATIONS,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
some = settings(many, max_examples=SAMPLE)


def check_mutated_file(data: st.DataObject, whole: Path, folder: Path) -> None:
    """What opens can be read to the last tensor; all else is a GptOssError with a hint."""
    file = data.draw(st.sampled_from([*FILES, "model.safetensors"]))
    folder.mkdir(exist_ok=True)
    contents = {name: (whole / name).read_bytes() for name in FILES}
    contents[file] = mutate(data.draw, contents[file], file)
    for name, content in contents.items():
        (folder / name).write_bytes(content)

    try:
        checkpoint = open_checkpoint(folder)
    except GptOssError as error:
        refused = error
    else:
        for name, view in checkpoint.parameters.items():
            array = checkpoint.array(name)
            mx.eval(array)
            assert array.shape == view.shape
        return
    # Names come from the file: whatever they are, the message can be shown.
    assert str(refused).encode()
    assert refused.hint[0].isupper()


@some
@given(data=st.data())
def test_a_mutated_file_opens_or_raises_a_named_error(
    data: st.DataObject,
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    note: Note,
) -> None:
    """Some hundred files."""
    note("mutations", 1)
    check_mutated_file(data, whole, tmp_path_factory.getbasetemp() / "mutated")


@pytest.mark.slow
@many
@given(data=st.data())
def test_2000_mutated_files_open_or_raise_a_named_error(
    data: st.DataObject,
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    note: Note,
) -> None:
    """The same with more."""
    note("mutations", 1)
    check_mutated_file(data, whole, tmp_path_factory.getbasetemp() / "mutated")


@pytest.mark.parametrize("file", FILES)
def test_the_unmutated_files_open(file: str, whole: Path) -> None:
    """The mutations above start from something that works."""
    assert (whole / file).is_file()
    assert len(open_checkpoint(whole).views) == 22
