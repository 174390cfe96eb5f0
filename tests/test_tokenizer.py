from __future__ import annotations

import hashlib
import lzma
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_mlx import tokenizer as module
from gptoss_mlx.errors import DataError
from gptoss_mlx.tokenizer import (
    RANKS_SHA256,
    SPECIAL_TOKENS,
    VOCAB_SIZE,
    StreamDecoder,
    load_tokenizer,
    pack_ranks,
    released_ranks,
)

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# Ids that OpenAI's own encoder gives.
KNOWN = {
    "": [],
    "hello world": [24912, 2375],
    "system": [17360],
    "developer": [77944],
    "assistant": [173781],
    "analysis": [35644],
    "commentary": [12606, 815],
    " to=python": [316, 28, 29010],
    "functions.get_weather": [44580, 775, 170154],
    "<|start|>": [27, 91, 5236, 91, 29],
}


def streamed(tokens: Sequence[int]) -> list[str]:
    """Decode one token at a time; the last piece is what was held back."""
    decoder = StreamDecoder(load_tokenizer())
    return [*(decoder.push(token) for token in tokens), decoder.flush()]


def test_the_vocabulary_is_the_released_one() -> None:
    """The packed tokens give OpenAI's file back, byte for byte."""
    assert hashlib.sha256(released_ranks()).hexdigest() == RANKS_SHA256


@pytest.mark.parametrize("text", KNOWN)
def test_text_has_the_ids_of_openai(text: str) -> None:
    """Known texts have the ids that OpenAI's encoder gives them."""
    assert load_tokenizer().encode(text) == KNOWN[text]


def test_every_id_of_the_model_has_bytes() -> None:
    """For every row of the model there is a text to show."""
    token_bytes = load_tokenizer().token_bytes

    assert all(token_bytes(token) for token in range(VOCAB_SIZE))


def test_special_tokens_have_their_ids() -> None:
    """The named ones are where harmony has them, the rest is reserved."""
    tokenizer = load_tokenizer()

    assert [
        tokenizer.token(f"<|{name}|>")
        for name in ("return", "constrain", "channel", "start", "end", "message", "call")
    ] == [200002, 200003, 200005, 200006, 200007, 200008, 200012]
    assert sorted(SPECIAL_TOKENS.values()) == list(range(199_998, VOCAB_SIZE))
    assert all(tokenizer.decode([i]) == text for text, i in SPECIAL_TOKENS.items())
    assert [tokenizer.is_special(token) for token in (199_997, 199_998)] == [False, True]


@given(st.lists(st.sampled_from([*list(SPECIAL_TOKENS)[:30], "a", " ", "\n", "🎉"])))
def test_text_never_becomes_a_special_token(pieces: list[str]) -> None:
    """Text that spells special tokens is encoded as ordinary text, and comes back."""
    tokenizer = load_tokenizer()
    tokens = tokenizer.encode("".join(pieces))

    assert not any(map(tokenizer.is_special, tokens))
    assert tokenizer.decode(tokens) == "".join(pieces)


@given(st.text())
def test_text_comes_back(text: str) -> None:
    """Encoding loses nothing."""
    tokenizer = load_tokenizer()

    assert tokenizer.decode(tokenizer.encode(text)) == text


SPACES = [" ", "\t", "\xa0", "\u3000", "\u2028", "\x1c", "\r", "\n", "   ", " \n "]


@given(st.lists(st.sampled_from([*SPACES, "a", "B", "'s", "1", "!", "/", "中", "\u0301"])))
def test_runs_of_whitespace_are_cut_where_it_changes_nothing(pieces: list[str]) -> None:
    """Taken out of the text from two characters on, they give tiktoken's own tokens."""
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONG_RUN", 2)
        tokens = load_tokenizer().encode(text)

    assert tokens == load_tokenizer()._encoding.encode_ordinary(text)


@pytest.mark.parametrize("after", ["", "a", "\n", "\na", " \n\n!"])
def test_a_million_spaces_are_encoded(after: str) -> None:
    """The tiktoken package alone panics at them."""
    text = "x" + " " * 1_000_000 + after

    assert load_tokenizer().decode(load_tokenizer().encode(text)) == text


def test_runs_of_whitespace_that_are_just_too_short_cost_no_time() -> None:
    """Looking for longer ones takes a moment, and leaves tiktoken's own tokens."""
    text = (" " * 50_000 + "a\n") * 20
    began = time.perf_counter()
    tokens = load_tokenizer().encode(text)

    assert time.perf_counter() - began < 5
    assert tokens == load_tokenizer()._encoding.encode_ordinary(text)


@given(st.lists(st.integers(-1, VOCAB_SIZE)))
def test_stream_gives_the_same_text_as_decoding_at_once(tokens: list[int]) -> None:
    """The pieces put together are the text, whatever the tokens."""
    assert "".join(streamed(tokens)) == load_tokenizer().decode(tokens)


def test_stream_never_shows_half_a_character() -> None:
    """A character of several tokens comes with the last of them."""
    tokens = load_tokenizer().encode("💖")
    pieces = streamed(tokens)

    assert len(tokens) > 1
    assert pieces == [*[""] * (len(tokens) - 1), "💖", ""]


def test_stream_gives_up_half_a_character_at_the_end() -> None:
    """Bytes that never become a character show as U+FFFD, and do not leak onward."""
    decoder = StreamDecoder(load_tokenizer())

    # Token 9552 is a space and the first two of an emoji's four bytes.
    assert [decoder.push(9552), decoder.flush()] == [" ", REPLACEMENT]
    assert decoder.push(24912) == "hello"


@pytest.mark.parametrize("token", [-1, VOCAB_SIZE, 1 << 40])
def test_an_id_out_of_range_decodes(token: int) -> None:
    """A wrong id gives U+FFFD and no error."""
    assert load_tokenizer().decode([24912, token]) == "hello" + REPLACEMENT


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_damaged_vocabulary_is_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not the packed vocabulary is an error that names it."""
    path = tmp_path / module.DATA_FILE
    if damage == "cut":
        path.write_bytes(lzma.compress(bytes(1000))[:-10])
    elif damage == "changed":
        path.write_bytes(lzma.compress(bytes(1000)))
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)

    with pytest.raises(DataError, match=module.DATA_FILE):
        released_ranks()


def test_only_the_released_ranks_are_packed() -> None:
    """Another file is refused, with the checksum that it should have."""
    with pytest.raises(DataError, match=f"must have sha256 {RANKS_SHA256}"):
        pack_ranks(released_ranks()[:-1])
