"""Values of a JSON object, checked as they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gptoss_mlx.errors import ConfigError, UnsupportedModelError
from gptoss_mlx.files import short

__all__ = ["MAX_SIZE", "ConfigReader"]

MAX_SIZE = 1 << 24
"""The largest integer that is accepted: far beyond any model's sizes."""


class ConfigReader:
    """Reads values of a JSON object, and reports wrong ones with their place.

    A null value counts as missing.

    Raises:
        ConfigError: A value is missing, of the wrong kind, or out of range.
    """

    def __init__(self, keys: Mapping[str, Any], source: str) -> None:
        self.keys = keys
        self.source = source

    def has(self, key: str) -> bool:
        """Whether the key has a value."""
        return self.keys.get(key) is not None

    def integer(self, key: str, default: int | None = None) -> int:
        """Return an integer from 1 to ``MAX_SIZE``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "an integer", value)
        if not 0 < value <= MAX_SIZE:
            raise self._wrong(key, f"from 1 to {MAX_SIZE:,}", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a positive, finite number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        # A model does not use an integer that is too large for a float, either.
        if abs(value) > 1e30 or not math.isfinite(value) or value <= 0:
            raise self._wrong(key, "a positive number", value)
        return float(value)

    def inner(self, key: str) -> ConfigReader:
        """Return a reader of the object at ``key``."""
        value = self.keys.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object", value)
        return ConfigReader(value, f"{self.source}: {key}")

    def require(self, key: str, expected: Any, *, default: Any = None) -> None:
        """Refuse a model that differs from gpt-oss in a way that is not implemented."""
        value = self._get(key, default)
        if value != expected:
            raise UnsupportedModelError(
                f"{self.source}: {key} must be {expected!r} but is {short(value)}."
            )

    def _get(self, key: str, default: Any) -> Any:
        value = self.keys.get(key)
        return default if value is None else value

    def _wrong(self, key: str, rule: str, value: Any) -> ConfigError:
        found = f"is {short(value)}" if key in self.keys else "is missing"
        return ConfigError(f"{self.source}: {key} must be {rule} but {found}.")
