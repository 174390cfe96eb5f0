"""The KV cache of a layer that attends to a window."""

from __future__ import annotations

from collections.abc import Iterable

import mlx.core as mx

from gptoss_mlx.errors import CacheError
from gptoss_mlx.model.cache_buffers import (
    GROWTH,
    STEP_TOKENS,
    append,
    check_trim,
    copied,
    make_buffer,
    whole_steps,
    write,
)
from gptoss_mlx.model.cache_window import SPARE_TOKENS, Window

__all__ = ["SlidingCache"]


class SlidingCache:
    """A cache of the last keys and values, for a layer that attends to ``window`` tokens.

    A step needs ``window - 1`` older tokens. ``slack_tokens`` more are kept, so that
    ``trim`` can remove as many. To go further back, ``restore`` a window that was copied
    there: by ``window_at``, or by ``watch`` while a chunk passes over it.

    Attributes:
        offset: Tokens seen; the absolute position of the next one.
        watched: The windows copied for ``watch``, by position.
    """

    def __init__(self, window: int, slack_tokens: int = 64) -> None:
        self.offset = 0
        self.window = window
        self.slack_tokens = slack_tokens
        self.watched: dict[int, Window] = {}
        self._watching: tuple[int, ...] = ()
        self._held = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def fetch_length(self, L: int) -> int:
        """Return how many keys ``update_and_fetch`` returns for ``L`` new tokens."""
        return min(self._held, self.window - 1) + L

    def update_and_fetch(
        self, keys: mx.array, values: mx.array
    ) -> tuple[mx.array, mx.array]:
        """Append ``L`` tokens and return all that these tokens attend to.

        Args:
            keys: Rotated. Shape ``(B, Hk, L, D)``.
            values: Shape ``(B, Hk, L, D)``.

        Returns:
            Keys and values of shape ``(B, Hk, min(offset, window - 1) + L, D)``.

        Raises:
            CacheError: ``B``, ``Hk`` or ``D`` differs from the cached tokens'.
        """
        L = keys.shape[2]
        fetched = self.fetch_length(L)
        if (
            self._keys is None
            or self._values is None
            or self._held + L > self._keys.shape[2]
        ):
            new_keys, all_keys = self._compact(self._keys, keys)
            new_values, all_values = self._compact(self._values, values)
            held = min(all_keys.shape[2], self._kept_tokens)
            # Assigned together and last: Ctrl-C may come at any call above.
            self._keys, self._values = new_keys, new_values
            self._held = held
            self.offset += L
        else:
            held = self._held + L
            write(self._keys, self._held, keys)
            write(self._values, self._held, values)
            self._held = held
            self.offset += L
            all_keys = self._keys[:, :, :held]
            all_values = self._values[:, :, :held]
        for position in self._watching:
            if self.offset - L < position <= self.offset:
                self.watched[position] = self._window(position, all_keys, all_values)
        return all_keys[:, :, -fetched:], all_values[:, :, -fetched:]

    @property
    def trimmable_tokens(self) -> int:
        """How many tokens ``trim`` can remove: at least the slack, if it is filled."""
        if self._held == self.offset:
            return self.offset
        return self._held - (self.window - 1)

    def trim(self, n: int) -> None:
        """Remove the last ``n`` tokens.

        Raises:
            CacheError: ``n`` is negative or over ``trimmable_tokens``.
        """
        check_trim(n, self.trimmable_tokens)
        self.offset -= n
        self._held -= n

    def watch(self, positions: Iterable[int]) -> None:
        """Copy the windows at ``positions`` to ``watched`` as chunks pass over them.

        A prefill then need not stop at each. The windows of an earlier watch are dropped.
        """
        self._watching = tuple(positions)
        self.watched = {}

    def window_at(self, position: int) -> Window:
        """Return a copy of the window at ``position``, for ``restore``.

        Raises:
            CacheError: ``position`` lies ahead, or more than ``trimmable_tokens`` back.
        """
        if self._keys is None or self._values is None:
            raise CacheError("An empty cache has no window.")
        check_trim(self.offset - position, self.trimmable_tokens)
        held = slice(0, self._held)
        return self._window(position, self._keys[:, :, held], self._values[:, :, held])

    def restore(self, window: Window, position: int | None = None) -> None:
        """Set the cache to the position where ``window`` was copied.

        Args:
            window: A window of this layer, from the same text.
            position: At most ``SPARE_TOKENS`` before ``window.offset``. None: the offset.

        Raises:
            CacheError: ``window`` does not reach ``position``, or has another shape.
        """
        position = window.offset if position is None else position
        if not window.reaches(position, self.window):
            raise CacheError(
                f"A window of positions {window.first} to {window.offset} must reach "
                f"position {position} with {self.window - 1} before it but does not."
            )
        window = window.until(position)
        if self._keys is not None:
            append(self._keys[:, :, :0], window.keys)  # checks the shape
        tokens = self._room_for(position - window.first)
        keys, values = make_buffer(window.keys, tokens), make_buffer(window.values, tokens)
        write(keys, 0, window.keys)
        write(values, 0, window.values)
        held = position - window.first
        self._keys, self._values = keys, values
        self._held = held
        self.offset = position

    def _window(self, position: int, keys: mx.array, values: mx.array) -> Window:
        """Cut the window at ``position`` out of the last keys and values held."""
        last = int(keys.shape[2]) - (self.offset - position)
        first = max(last - self.window_tokens, 0)
        return Window(
            position, copied(keys[:, :, first:last]), copied(values[:, :, first:last])
        )

    @property
    def state(self) -> list[mx.array]:
        """The buffers, for ``mx.eval``."""
        return [array for array in (self._keys, self._values) if array is not None]

    def nbytes_for(self, tokens: int, *, token_bytes: int) -> int:
        """Count the bytes of the buffers; see ``FullCache.nbytes_for``."""
        return self._room_for(tokens) * token_bytes if tokens else 0

    def window_nbytes_for(self, tokens: int, *, token_bytes: int) -> int:
        """Count the bytes of a ``Window`` that is copied after ``tokens``, at most."""
        return min(tokens, self.window_tokens) * token_bytes

    @property
    def _kept_tokens(self) -> int:
        return self.window - 1 + self.slack_tokens

    def _room_for(self, tokens: int) -> int:
        """Return the room of a buffer that holds ``tokens`` tokens.

        The window comes from a file and may be huge, so the room depends on ``tokens``.
        """
        held = min(tokens, self._kept_tokens)
        most = whole_steps(self._kept_tokens + STEP_TOKENS)
        return min(whole_steps(held + max(STEP_TOKENS, held // GROWTH)), most)

    @property
    def window_tokens(self) -> int:
        """The most tokens that a ``Window`` of this layer has."""
        return self.window - 1 + SPARE_TOKENS

    def _compact(self, buffer: mx.array | None, new: mx.array) -> tuple[mx.array, mx.array]:
        """Move the last tokens to the front of a new buffer.

        Returns:
            The buffer, and all of the held and new tokens for this step's attention.
        """
        whole = new if buffer is None else append(buffer[:, :, : self._held], new)
        last = whole[:, :, -self._kept_tokens :]
        moved = make_buffer(last, self._room_for(last.shape[2]))
        write(moved, 0, last)
        return moved, whole
