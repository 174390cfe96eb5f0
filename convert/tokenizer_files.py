"""Makes the release's tokenizer files from the vocabulary in the package.

OpenAI's ``original/`` lacks them, and transformers and mlx-lm need them. The
result is the released file byte for byte, in the tokenizers library's format.

Source: TikTokenConverter in
https://github.com/huggingface/transformers/blob/main/src/transformers/convert_slow_tokenizer.py
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from gptoss_mlx.tokenizer import SPECIAL_TOKENS, SPLIT, released_ranks

__all__ = [
    "TOKENIZER_JSON_SHA256",
    "special_tokens_map",
    "tokenizer_config",
    "tokenizer_json",
]

TOKENIZER_JSON_SHA256 = "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"
"""Of the released tokenizer.json, 27,868,174 bytes."""

# The release stops at <|endofprompt|>; later rows are padding.
ADDED_TOKENS = [(token, text) for text, token in SPECIAL_TOKENS.items() if token <= 200_018]
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
NAMED = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|return|>",
    "pad_token": "<|endoftext|>",
}


def tokenizer_json() -> bytes:
    """Make the released tokenizer.json.

    It takes about 2 s and 150 MB of memory.

    Raises:
        DataError: The vocabulary in the package is missing or was changed.
    """
    letters = _byte_letters()
    ranks: dict[bytes, int] = {}
    quoted: list[str] = []
    for line in released_ranks().splitlines():
        token = base64.b64decode(line.split()[0])
        ranks[token] = len(quoted)
        text = "".join(map(letters.__getitem__, token))
        quoted.append(json.dumps(text, ensure_ascii=False))
    head, middle, tail = _frame().split('"@"')
    out = bytearray(head.encode())
    out += ",".join(f"\n      {text}: {i}" for i, text in enumerate(quoted)).encode()
    out += f"\n    {middle}".encode()
    comma = ""
    for left, right in _merges(ranks):
        out += (
            f"{comma}\n      [\n        {quoted[left]},\n        {quoted[right]}\n      ]"
        ).encode()
        comma = ","
    out += f"\n    {tail}".encode()
    return bytes(out)


def tokenizer_config() -> bytes:
    """Make the released tokenizer_config.json."""
    flags = {"content": "", **FLAGS, "special": True}
    config: dict[str, Any] = {
        "added_tokens_decoder": {
            str(token): dict(sorted({**flags, "content": text}.items()))
            for token, text in sorted(ADDED_TOKENS)
        },
        **NAMED,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": int(1e30),
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return json.dumps(dict(sorted(config.items())), indent=2).encode() + b"\n"


def special_tokens_map() -> bytes:
    """Make the released special_tokens_map.json."""
    return json.dumps(NAMED, indent=2).encode() + b"\n"


def _frame() -> str:
    """The file without the vocabulary and the merges, whose places are "@"."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": True}
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": text, **FLAGS, "special": True}
            for token, text in sorted(ADDED_TOKENS)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": SPLIT},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
            ],
        },
        "post_processor": {**byte_level, "trim_offsets": False, "use_regex": True},
        "decoder": {**byte_level, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {"@": 0},
            "merges": ["@"],
        },
    }
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.replace('\n      "@": 0\n    ', '"@"').replace('\n      "@"\n    ', '"@"')


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[int, int]]:
    """Yield every pair of tokens that makes a token, by its rank and then by theirs."""
    for token in ranks:
        pairs = [
            (ranks[token[:i]], ranks[token[i:]])
            for i in range(1, len(token))
            if token[:i] in ranks and token[i:] in ranks
        ]
        pairs.sort()
        yield from pairs


def _byte_letters() -> list[str]:
    """Return the printable character that stands for each byte, as in GPT-2's files.

    Source: bytes_to_unicode in https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = (byte for byte in range(256) if byte not in plain)
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]
