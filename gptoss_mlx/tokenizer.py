"""The o200k_harmony vocabulary: text to token ids and back, without a download.

The ranks of o200k_base ship in the package; tiktoken does the byte-pair merges.

Source: https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import lzma
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

import tiktoken

from gptoss_mlx.errors import DataError

__all__ = [
    "RANKS_SHA256",
    "SPECIAL_TOKENS",
    "VOCAB_SIZE",
    "StreamDecoder",
    "Tokenizer",
    "load_tokenizer",
    "pack_ranks",
    "released_ranks",
]

VOCAB_SIZE = 201_088
"""Rows of gpt-oss's embedding. Every id below it has a text."""

NUM_RANKS = 199_998

RANKS_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""sha256 of OpenAI's released ``o200k_base.tiktoken``."""

DATA_FILE = "o200k_base.xz"
TABLE_SHA256 = "440741350e7cfa1c0f4869ce742d1b043550adbda5187adcac9e787edac6fba9"

SPLIT = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

INLINE_SPACE = r"[\t\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
r"""SPLIT's ``\s`` without ``\r`` and ``\n``. Python's own ``\s`` has more."""

LONG_RUN = 100_000
"""Characters of whitespace. tiktoken 0.14 fails somewhere above 300,000."""

NAMED_TOKENS = {
    "<|startoftext|>": 199_998,
    "<|endoftext|>": 199_999,
    "<|return|>": 200_002,
    "<|constrain|>": 200_003,
    "<|channel|>": 200_005,
    "<|start|>": 200_006,
    "<|end|>": 200_007,
    "<|message|>": 200_008,
    "<|call|>": 200_012,
    "<|endofprompt|>": 200_018,
}

SPECIAL_TOKENS: dict[str, int] = NAMED_TOKENS | {
    f"<|reserved_{token}|>": token
    for token in range(200_000, VOCAB_SIZE)
    if token not in NAMED_TOKENS.values()
}
"""Text to id, from ``<|startoftext|>`` (199998) to ``<|reserved_201087|>``."""

END_OF_TEXT = NAMED_TOKENS["<|endoftext|>"]
RETURN = NAMED_TOKENS["<|return|>"]
CONSTRAIN = NAMED_TOKENS["<|constrain|>"]
CHANNEL = NAMED_TOKENS["<|channel|>"]
START = NAMED_TOKENS["<|start|>"]
END = NAMED_TOKENS["<|end|>"]
MESSAGE = NAMED_TOKENS["<|message|>"]
CALL = NAMED_TOKENS["<|call|>"]

STOP_TOKENS = frozenset({RETURN, CALL, END_OF_TEXT})
"""The tokens that end an assistant's turn. ``<|end|>`` ends only a message."""


class Tokenizer:
    """Turns text into token ids and back. Safe to share between threads."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def encode(self, text: str) -> list[int]:
        """Encode ``text`` as ordinary text.

        The result has no special token: ``<|end|>`` in ``text`` becomes the five tokens
        of its characters. Lone surrogates become U+FFFD.
        """
        tokens: list[int] = []
        start = 0
        for begin, end in _long_runs(text):
            tokens += self._encoding.encode_ordinary(text[start:begin])
            tokens += self._encoding._encode_single_piece(text[begin:end])
            start = end
        return tokens + self._encoding.encode_ordinary(text[start:])

    def decode(self, tokens: Iterable[int]) -> str:
        """Decode ``tokens``. Invalid UTF-8 and ids out of range become U+FFFD."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def token(self, text: str) -> int:
        """Return the id of a special token.

        Args:
            text: A key of ``SPECIAL_TOKENS``, e.g. ``<|start|>``.

        Raises:
            KeyError: The text is not a special token.
        """
        return SPECIAL_TOKENS[text]

    def is_special(self, token: int) -> bool:
        """Whether ``token`` is a special token."""
        return NUM_RANKS <= token < VOCAB_SIZE

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of one token, which may be part of a character.

        An id out of range gives U+FFFD in UTF-8.
        """
        if not 0 <= token < VOCAB_SIZE:
            return "\N{REPLACEMENT CHARACTER}".encode()
        return self._encoding.decode_single_token_bytes(token)


class StreamDecoder:
    """Decodes tokens as they arrive, holding back incomplete characters.

    The joined pieces equal ``Tokenizer.decode`` of all tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the text that ``token`` completes, which may be empty."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """Return U+FFFD for held-back bytes, and reset."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


@cache
def load_tokenizer() -> Tokenizer:
    """Load the vocabulary in the package. Later calls return the same object.

    Raises:
        DataError: The file is missing or was changed.
    """
    ranks = {token: rank for rank, token in enumerate(_read_tokens())}
    return Tokenizer(
        tiktoken.Encoding(
            name="o200k_harmony",
            pat_str=SPLIT,
            mergeable_ranks=ranks,
            special_tokens=SPECIAL_TOKENS,
        )
    )


def released_ranks() -> bytes:
    """Return ``o200k_base.tiktoken`` byte for byte: one line per token, base64 and rank.

    Raises:
        DataError: The file in the package is missing or was changed.
    """
    return b"".join(
        b"%s %d\n" % (base64.b64encode(token), rank)
        for rank, token in enumerate(_read_tokens())
    )


def pack_ranks(released: bytes) -> bytes:
    """Pack ``o200k_base.tiktoken`` for the package.

    The format is xz over a table: the length of each token in one byte, in order of rank,
    then the tokens' bytes in the same order.

    Raises:
        DataError: ``released`` is not the released file.
    """
    digest = hashlib.sha256(released).hexdigest()
    if digest != RANKS_SHA256:
        raise DataError(
            f"o200k_base.tiktoken must have sha256 {RANKS_SHA256} but has {digest}.",
            hint="Download the file again, and pass it uncompressed.",
        )
    tokens = [base64.b64decode(line.split()[0]) for line in released.splitlines()]
    table = bytes(map(len, tokens)) + b"".join(tokens)
    return lzma.compress(table, preset=9 | lzma.PRESET_EXTREME)


def _long_runs(text: str) -> Iterator[tuple[int, int]]:
    r"""Find runs of whitespace that are too long for tiktoken, whose regex overflows.

    SPLIT ends a piece at the beginning of such a run: only ``[\r\n/]*`` and ``\s*[\r\n]+``
    match whitespace after other text, and both end before a run. If a newline
    follows, the run is part of ``\s*[\r\n]+``, which does not overflow. Otherwise it is
    ``\s+(?!\S)``: all of it at the end of the text, or all but its last character, which
    may belong to the next piece, before other text.
    """
    if len(text) < LONG_RUN:
        return
    # A run that is too short is not tried again from each of its characters.
    pattern = f"(?<!{INLINE_SPACE}){INLINE_SPACE}{{{LONG_RUN},}}"
    for run in re.finditer(pattern, text):
        following = text[run.end() : run.end() + 1]
        if following not in ("\r", "\n"):
            yield run.start(), run.end() - (1 if following else 0)


def _read_tokens() -> list[bytes]:
    """Read the tokens in order of rank."""
    path = resources.files("gptoss_mlx.data") / DATA_FILE
    try:
        table = lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"{path} must be an xz file: {error}.") from error
    digest = hashlib.sha256(table).hexdigest()
    if digest != TABLE_SHA256:
        raise DataError(
            f"{path} must unpack to sha256 {TABLE_SHA256} but unpacks to {digest}."
        )
    tokens = []
    start = NUM_RANKS
    for length in table[:NUM_RANKS]:
        tokens.append(table[start : start + length])
        start += length
    return tokens
