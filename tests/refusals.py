"""The check that something is refused with a certain error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import pytest

from gptoss_mlx.errors import GptOssError

__all__ = ["refused"]

Value = TypeVar("Value")
Error = TypeVar("Error", bound=GptOssError)


def refused(
    read: Callable[[Value], object], value: Value, error: type[Error], message: str
) -> Error:
    """Assert that ``read(value)`` raises this very error, its message, and a hint."""
    with pytest.raises(error) as caught:
        read(value)
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert message.encode()
    assert re.match("[A-Z]", caught.value.hint)
    return caught.value
