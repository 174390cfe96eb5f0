from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections.abc import Iterator

from tokenizers import Tokenizer

from gptoss_mlx.convert.tokenizer_files import (
    TOKENIZER_JSON_SHA256,
    special_tokens_map,
    tokenizer_config,
)
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, StreamDecoder, load_tokenizer

# As released with gpt-oss-20b and -120b.
CONFIG_SHA256 = "9279e942392b742d633c7adbb89ebe002c98399db8926a7af5125c726f404070"
MAP_SHA256 = "dd5e191d20c12d2fee1da5bae14ca1db0f5f4215300af691f23cdee97120a293"

WORDS = [
    "the", "The", "THE", "don't", "WE'LL", "o'clock", "naïve", "Größe", "señor", "Ελλάδα",
    "привет", "МОСКВА", "नमस्ते", "ภาษาไทย", "日本語", "한국어", "中文字", "العربية", "עברית",
    "ǅungla", "ʰa", "x²", "½", "٣٤٥", "12345678", "3.14", "0x1F", "1e-9", "💖", "🇩🇪",
    "👩‍👩‍👧", "é",
    "ﬁ", "\u200b", "\ufeff", "def f(x):", "a_b", "//", "/*", "*/", "</p>", "&amp;",
    "https://x.y/z?a=b", "<|end|>", "<|start|>", "<|reserved_200000|>", "\\n", "\\", '"',
]  # fmt: skip
SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    " \n ",
    "\u00a0",
    "\u3000",
    "",
    "\x0b",
]


def varied_strings(count: int) -> Iterator[str]:
    """Make strings of words and white space in many scripts, and of random characters."""
    chance = random.Random(0)
    assigned = [
        chr(point)
        for point in range(0x110000)
        if unicodedata.category(chr(point)) not in {"Cs", "Co", "Cn"}
    ]
    for i in range(count):
        length = chance.randrange(1, 30)
        if i % 3 == 0:
            yield "".join(chance.choices(assigned, k=length))
        elif i % 3 == 1:
            yield "".join(
                chance.choice(WORDS) + chance.choice(SPACES) for _ in range(length)
            )
        else:
            pieces = WORDS + SPACES + chance.choices(assigned, k=20)
            yield "".join(chance.choices(pieces, k=length))


def test_tokenizer_json_is_the_released_one(released_tokenizer: bytes) -> None:
    """Byte for byte."""
    assert len(released_tokenizer) == 27_868_174
    assert hashlib.sha256(released_tokenizer).hexdigest() == TOKENIZER_JSON_SHA256


def test_the_small_files_are_the_released_ones() -> None:
    """Byte for byte."""
    assert hashlib.sha256(tokenizer_config()).hexdigest() == CONFIG_SHA256
    assert hashlib.sha256(special_tokens_map()).hexdigest() == MAP_SHA256


def test_special_tokens_stop_where_the_release_does() -> None:
    """The rows behind ``<|endofprompt|>`` are padding and have no text there."""
    config = json.loads(tokenizer_config())["added_tokens_decoder"]

    assert list(config) == [str(token) for token in range(199_998, 200_019)]
    assert all(SPECIAL_TOKENS[value["content"]] == int(i) for i, value in config.items())


def test_our_tokenizer_gives_the_tokens_of_the_tokenizers_library(
    released_tokenizer: bytes,
) -> None:
    """On 5,000 varied strings. Text that spells a special token is text in both."""
    theirs = Tokenizer.from_buffer(released_tokenizer)
    theirs.encode_special_tokens = True
    ours = load_tokenizer()

    wrong = [
        text
        for text in varied_strings(5_000)
        if ours.encode(text) != theirs.encode(text, add_special_tokens=False).ids
    ]
    assert wrong == []


def test_streamed_text_is_the_text_decoded_at_once() -> None:
    """1,000 strings with characters of several bytes, and no U+FFFD on the way."""
    tokenizer = load_tokenizer()
    texts = [text for text in varied_strings(2_000) if len(text.encode()) > len(text)]
    texts = texts[:1_000]
    assert len(texts) == 1_000

    for text in texts:
        decoder = StreamDecoder(tokenizer)
        tokens = tokenizer.encode(text)
        pieces = [*(decoder.push(token) for token in tokens), decoder.flush()]
        assert "".join(pieces) == tokenizer.decode(tokens) == text
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces) or (
            "\N{REPLACEMENT CHARACTER}" in text
        )
