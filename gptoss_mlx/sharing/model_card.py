"""The model card of a converted folder on the Hub: README.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.errors import VerifyError
from gptoss_mlx.manifest import Manifest, TensorEntry

__all__ = ["model_card"]

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

{origin}, in the format of [MLX](https://github.com/ml-explore/mlx), for Apple silicon.

Recipe `{recipe}`: {summary}. The experts are the released MXFP4 bytes; router, norms, sinks
and biases are as released too.

| part | GB |
|---|---:|
{sizes}

## With gptoss-mlx

```sh
gptoss-mlx download {repository}
gptoss-mlx chat {repository}
```

`download` compares every byte with `manifest.json`, and prints the model's digest:

    {model_id}

## With mlx-lm

```sh
mlx_lm.chat --model {repository}
mlx_lm.generate --model {repository} --prompt "What is MXFP4?"
```

The chat template writes prompts in the harmony format. mlx-lm rounds the ends of YaRN's
ramp, which gpt-oss does not (`"truncate": false` in config.json), so its logits differ a
little from OpenAI's.

## License

{license}
"""

_OF_OPENAI = """\
The weights of gpt-oss are released by OpenAI under the Apache License, Version 2.0; see
`LICENSE`. They were repacked by gptoss-mlx, as described above."""
_OF_OTHERS = "See `LICENSE`."

_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64"), 8),
}


def model_card(
    manifest: Manifest, *, name: str, repository: str, model_id: str, base: str | None
) -> str:
    """Return the card of a folder.

    Args:
        manifest: The manifest that lies beside the card.
        name: The model's name.
        repository: Where the card will be, ``USER/REPO``.
        model_id: The line that names the model and its bytes.
        base: The repository of the released model; None if it is not known.

    Raises:
        VerifyError: A tensor in the manifest has an unknown dtype.
    """
    recipe = RECIPES.get(manifest.recipe)
    is_openai = base is not None and base.startswith("openai/")
    total = sum(entry.nbytes for entry in manifest.files.values())
    return CARD.format(
        base_model=f"base_model: {base}\n" if base else "",
        title=name,
        origin=f"[{base}](https://huggingface.co/{base})"
        if base
        else f"`{manifest.source.folder}`",
        recipe=manifest.recipe,
        summary=recipe.summary if recipe else "weights quantized by a file of patterns",
        sizes="\n".join(_rows(manifest.tensors, total)),
        repository=repository,
        name=name,
        model_id=model_id,
        license=_OF_OPENAI if is_openai else _OF_OTHERS,
    )


def _rows(tensors: Mapping[str, TensorEntry], total: int) -> Iterable[str]:
    parts = dict.fromkeys(("experts", "attention", "embedding", "lm_head", "rest"), 0)
    for name, tensor in tensors.items():
        parts[_part(name)] += _nbytes(name, tensor)
    parts["rest"] = total - sum(n for part, n in parts.items() if part != "rest")
    names = {"rest": "router, norms, sinks, tokenizer"}
    for part, nbytes in parts.items():
        yield f"| {names.get(part, part)} | {nbytes / 1e9:.3f} |"
    yield f"| all files | {total / 1e9:.3f} |"


def _part(tensor: str) -> str:
    if ".experts." in tensor:
        return "experts"
    if "_proj." in tensor:
        return "attention"
    if ".embed_tokens." in tensor:
        return "embedding"
    return "lm_head" if tensor.startswith("lm_head.") else "rest"


def _nbytes(name: str, tensor: TensorEntry) -> int:
    item = _ITEM_BYTES.get(tensor.dtype)
    if item is None:
        raise VerifyError(f"{name}: has a dtype that is not known: {tensor.dtype}.")
    return item * math.prod(tensor.shape)
