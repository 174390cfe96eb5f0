from __future__ import annotations

from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.config import RELEASED
from gptoss_mlx.errors import VerifyError
from gptoss_mlx.sharing.published import published_of
from gptoss_mlx.sharing.releases import RELEASES


@pytest.mark.parametrize(
    ("size", "layers", "experts"), [("20b", 24, 32), ("120b", 36, 128)]
)
def test_the_release_of_a_models_size(
    tmp_path: Path, size: str, layers: int, experts: int
) -> None:
    """Its layers and experts tell which it is; all pins come with it."""
    write_tiny_checkpoint(
        tmp_path,
        vocab_size=8,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_local_experts=experts,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
    )
    published, release = published_of(tmp_path), RELEASES[size]

    assert (published.repository, published.revision) == (
        f"openai/gpt-oss-{size}",
        release.revision,
    )
    assert {
        name: (entry.nbytes, entry.sha256) for name, entry in published.files.items()
    } == release.files
    assert len(published.weights) == {"20b": 3, "120b": 15}[size]
    assert published.config == RELEASED[size]


def test_a_model_of_another_size(tmp_path: Path) -> None:
    """The error has the two that are published."""
    write_tiny_checkpoint(tmp_path)
    with pytest.raises(VerifyError, match=r"gpt-oss-20b or openai/gpt-oss-120b, but "):
        published_of(tmp_path)
