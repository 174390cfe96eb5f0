from __future__ import annotations

import re

import pytest

from gptoss_mlx.model.amounts import parse_bytes, parse_memory, parse_rate, parse_share

GIB = 1 << 30
MANY = "9" * 400


def rate(text: str) -> float:
    """A rate that a machine's memory may have."""
    return parse_rate(text, 1e9, 1e14)


@pytest.mark.parametrize("text", ["16GB", "16 gb", "16G", "16GiB"])
def test_a_memory_is_read_as_on_the_label(text: str) -> None:
    """A Mac of 16 GB has 16 GiB."""
    assert parse_memory(text) == 16 * GIB


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0GB", "16GBs", "1e9", "１６GB"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    """The message shows what was given."""
    with pytest.raises(ValueError, match=f"must be .* but is {re.escape(repr(text))}"):
        parse_memory(text)


def test_what_is_refused_is_quoted_as_it_was_typed() -> None:
    """Not as it is read."""
    with pytest.raises(ValueError, match="'16,5GB'"):
        parse_memory("16,5GB")


@pytest.mark.parametrize("text", ["16", "10.7", " 8 "])
def test_an_amount_without_a_unit_is_refused(text: str) -> None:
    """It would be bytes; the message has the unit."""
    for parse in (parse_bytes, parse_memory):
        with pytest.raises(ValueError, match=f"must have a unit, as {text.strip()}GB, but"):
            parse(text)


@pytest.mark.parametrize("text", [f"{MANY}GB", f"{MANY}B", "1000.1TB"])
def test_more_than_any_machine_has_is_refused(text: str) -> None:
    """Also what is more than a float holds; the message is short."""
    for parse in (parse_bytes, parse_memory):
        with pytest.raises(ValueError, match="must be up to 1,000TB but is") as caught:
            parse(text)
        assert len(str(caught.value)) < 120


def test_a_share_of_many_digits_is_refused() -> None:
    """In a short message."""
    with pytest.raises(ValueError, match="must be over 0 and up to 100%") as caught:
        parse_share(MANY)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("120GB/s", 120e9),
        ("120gb/s", 120e9),
        ("5.8 GB/s", 5.8e9),
        ("153", 153e9),
        (" 8000MB/s", 8e9),
        ("2GiB/s", 2 * GIB),
        ("2.9GB", 2.9e9),
        ("1TB/s", 1e12),
    ],
)
def test_a_rate_is_read_as_it_is_written(text: str, found: float) -> None:
    """Without a unit it is GB per second."""
    assert rate(text) == found


@pytest.mark.parametrize(
    "text", ["", "fast", "1.2.3", "-5", "1e400", "\x1b[2J", "5 XB/s", "１２０GB/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """The message shows what was typed, on one line."""
    with pytest.raises(
        ValueError, match=r"^must be a rate, as 120GB/s, but is '"
    ) as caught:
        rate(text)

    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("text", ["0", "0.9GB/s", "101TB/s", MANY])
def test_a_rate_that_no_machine_has_is_refused(text: str) -> None:
    """With the range."""
    with pytest.raises(ValueError, match=r"^must be from 1GB/s to 100,000GB/s but is '"):
        rate(text)
