"""Make the logits that `gptoss-mlx doctor` compares with, from OpenAI's torch reference.

Needs torch and gpt-oss: `make parity` sets them up, `make golden` runs this. It is to be
run again whenever the demo model in the package changes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from reference import openai_logits
from safetensors.torch import load_file, save_file

from gptoss_mlx.checkpoint.names import openai_name
from gptoss_mlx.demo.package import unpack_demo
from gptoss_mlx.harmony.messages import Message, developer_message, system_message
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import load_tokenizer

TARGET = Path(__file__).parents[2] / "gptoss_mlx" / "data" / "demo_logits.npz"

# More than a window of 128, so that both kinds of layers are looked at.
CONVERSATION = [
    system_message(),
    developer_message("Answer questions about gpt-oss, one sentence each."),
    Message("user", "What is gpt-oss?"),
    Message("assistant", "A family of open-weight language models.", channel="final"),
    Message("user", " ".join(f"Is {n} a number?" for n in range(40))),
]
POSITIONS = 8
IDS = 256


def main() -> None:
    """Write the file."""
    tokens = np.array(render_conversation(CONVERSATION, load_tokenizer()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack_demo(folder)
        write_original(folder)
        logits = openai_logits(folder, tokens)
    positions = np.linspace(7, len(tokens) - 1, POSITIONS).astype(np.int64)
    likeliest = np.unique(logits[positions].argsort(-1)[:, -8:])
    others = np.random.RandomState(0).choice(logits.shape[1], IDS, replace=False)
    ids = np.unique(np.concatenate([likeliest, others]))
    np.savez_compressed(
        TARGET,
        tokens=tokens.astype(np.int32),
        positions=positions,
        ids=ids,
        logits=logits[positions][:, ids],
    )
    sys.stderr.write(f"{len(tokens)} tokens, {len(positions)} x {len(ids)} logits\n")


def write_original(folder: Path) -> None:
    """Write ``folder/original``, as the reference wants it, from Hugging Face's layout."""
    parts: dict[str, list[torch.Tensor]] = {}
    tensors = load_file(folder / "model.safetensors")
    # q before k before v, as they lie in the one tensor that OpenAI has.
    for name in sorted(tensors, key=_place):
        parts.setdefault(openai_name(name), []).append(tensors[name])
    (folder / "original").mkdir()
    save_file(
        {name: torch.cat(pieces).contiguous() for name, pieces in parts.items()},
        folder / "original" / "model.safetensors",
    )
    keys = json.loads((folder / "config.json").read_text())
    shared = (
        "head_dim",
        "hidden_size",
        "initial_context_length",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "rope_theta",
        "sliding_window",
        "swiglu_limit",
        "vocab_size",
        "experts_per_token",
    )
    config = {
        **{key: keys[key] for key in shared},
        "num_experts": keys["num_local_experts"],
        "rope_ntk_alpha": keys["rope_scaling"]["beta_slow"],
        "rope_ntk_beta": keys["rope_scaling"]["beta_fast"],
        "rope_scaling_factor": keys["rope_scaling"]["factor"],
    }
    (folder / "original" / "config.json").write_text(json.dumps(config))


def _place(name: str) -> tuple[str, int]:
    projection = name.split(".")[-2]
    return openai_name(name), ("q_proj", "k_proj", "v_proj", projection).index(projection)


if __name__ == "__main__":
    main()
