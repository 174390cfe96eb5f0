"""The small files beside the weights: tokenizer, licence, model card."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.errors import ConvertError
from gptoss_mlx.files import read_file
from gptoss_mlx.manifest import Provenance
from gptoss_mlx.store import model_size
from gptoss_mlx.tokenizer import VOCAB_SIZE

from .recipes import Recipe
from .tokenizer_files import (
    TOKENIZER_JSON_SHA256,
    special_tokens_map,
    tokenizer_config,
    tokenizer_json,
)

__all__ = ["COPIED", "WRITTEN", "companion_files"]

COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "LICENSE",
    "USAGE_POLICY",
)

# The released tokenizer.json takes 28 MB, the others at most 16 kB.
MAX_TOKENIZER_BYTES = 64 << 20
MAX_COMPANION_BYTES = 1 << 20

# As released with gpt-oss-20b and -120b.
GENERATION_CONFIG = {
    "bos_token_id": 199998,
    "do_sample": True,
    "eos_token_id": [200002, 199999, 200012],
    "pad_token_id": 199999,
}

LICENSE = """\
The weights of gpt-oss are released by OpenAI under the Apache License, Version 2.0.
They were repacked by gptoss-mlx; README.md says how. You may obtain a copy of the
License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under
the License is distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY
KIND, either express or implied. See the License for the specific language governing
permissions and limitations under the License.
"""

WRITTEN = {
    "LICENSE": LICENSE.encode(),
    "generation_config.json": json.dumps(GENERATION_CONFIG, indent=2).encode(),
}
"""Written if the source has none."""

CARD = """\
---
license: apache-2.0
{base_model}library_name: mlx
pipeline_tag: text-generation
tags:
- gpt-oss
- mlx
- mxfp4
---

# {title}

{origin}, in the format of [MLX](https://github.com/ml-explore/mlx).

Recipe `{recipe}`: {summary}. The experts are the released MXFP4 bytes;
router, norms, sinks and biases are as released too.

Made by gptoss-mlx. `manifest.json` has the sha256 of every file and tensor.

With gptoss-mlx:

```sh
gptoss-mlx chat PATH/TO/THIS/FOLDER
gptoss-mlx verify PATH/TO/THIS/FOLDER
```
"""

# mlx-lm reads the tokenizer and the chat template from the folder.
MLX_LM = """
With mlx-lm 0.32 or newer:

```sh
mlx_lm.chat --model PATH/TO/THIS/FOLDER
```
"""


def companion_files(
    checkpoint: Checkpoint,
    recipe: Recipe,
    provenance: Provenance,
    notice: Callable[[str], None] = lambda sentence: None,
) -> dict[str, bytes]:
    """Collect the small files of the output, by name.

    The source's files are copied; ``original/`` is released without them, and uses those
    of the folder around it. A missing tokenizer is made as released, if the vocabulary is
    gpt-oss's.

    Args:
        notice: Called with a sentence if the source's tokenizer is not the released one.

    Raises:
        ConvertError: A file is a link to a file outside the source.
        DataError: The vocabulary in the package is missing or was changed.
        WrongFileError: A file is not a file, too large, or a Git LFS pointer.
        StorageError: A file cannot be read.
    """
    files = dict(WRITTEN)
    for name in COPIED:
        path = _find(checkpoint, name)
        if path is not None:
            _check_inside(checkpoint.folder, path)
            is_tokenizer = name == "tokenizer.json"
            files[name] = read_file(
                path,
                max_bytes=MAX_TOKENIZER_BYTES if is_tokenizer else MAX_COMPANION_BYTES,
            )
    if "tokenizer.json" in files:
        if hashlib.sha256(files["tokenizer.json"]).hexdigest() != TOKENIZER_JSON_SHA256:
            path = _find(checkpoint, "tokenizer.json")
            notice(f"{path} differs from gpt-oss's released file. It is copied.")
    elif checkpoint.config.vocab_size == VOCAB_SIZE:
        files["tokenizer.json"] = tokenizer_json()
        files.setdefault("tokenizer_config.json", tokenizer_config())
        files.setdefault("special_tokens_map.json", special_tokens_map())
    card = _model_card(checkpoint, recipe, provenance)
    card += MLX_LM if {"tokenizer.json", "chat_template.jinja"} <= files.keys() else ""
    files["README.md"] = card.encode(errors="backslashreplace")
    return files


def _find(checkpoint: Checkpoint, name: str) -> Path | None:
    """Find a file of the source. The reader checks whether it is a regular file."""
    if checkpoint.only is not None and name not in checkpoint.only:
        return None
    folder = checkpoint.folder
    folders = [folder, folder.parent] if folder.name == "original" else [folder]
    return next((place / name for place in folders if os.path.lexists(place / name)), None)


def _check_inside(folder: Path, path: Path) -> None:
    """Refuse a link that would copy a file from outside the source to the output.

    The Hub's cache has links from ``models--NAME/snapshots/REVISION`` to its ``blobs``.
    """
    root = Path(os.path.realpath(folder.parent if folder.name == "original" else folder))
    cache = root.parent.parent
    is_cached = root.parent.name == "snapshots" and cache.name.startswith("models--")
    allowed = [root, cache / "blobs"] if is_cached else [root]
    real = Path(os.path.realpath(path))
    if not any(place in real.parents for place in allowed):
        raise ConvertError(
            f"{path} must be in the source but is a link to {real}.",
            hint=f"Replace the link by the file itself: {path}",
        )


def _model_card(checkpoint: Checkpoint, recipe: Recipe, provenance: Provenance) -> str:
    size = model_size(checkpoint.config)
    base = provenance.repository or (f"openai/gpt-oss-{size}" if size else None)
    name = base.rpartition("/")[2] if base else provenance.folder
    return CARD.format(
        base_model=f"base_model: {base}\n" if base else "",
        title=f"{name}-{recipe.name}",
        origin=f"[{base}](https://huggingface.co/{base})" if base else f"`{name}`",
        recipe=recipe.name,
        summary=recipe.summary,
    )
