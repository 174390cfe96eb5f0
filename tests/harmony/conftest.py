"""OpenAI's own library, with our vocabulary, so that nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import openai_harmony
import pytest

from gptoss_mlx.tokenizer import released_ranks


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> openai_harmony.HarmonyEncoding:
    """openai-harmony's encoding for gpt-oss."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    (folder / "o200k_base.tiktoken").write_bytes(released_ranks())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        return openai_harmony.load_harmony_encoding("HarmonyGptOss")
