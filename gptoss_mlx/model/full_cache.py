"""The KV cache of a layer that attends to all tokens."""

from __future__ import annotations

import mlx.core as mx

from gptoss_mlx.model.cache_buffers import (
    GROWTH,
    STEP_TOKENS,
    append,
    check_trim,
    make_buffer,
    write,
)

__all__ = ["FullCache"]


class FullCache:
    """A cache of all keys and values, in a buffer that grows in steps.

    Attributes:
        offset: Tokens held; the absolute position of the next one.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def fetch_length(self, L: int) -> int:
        """Return how many keys ``update_and_fetch`` returns for ``L`` new tokens."""
        return self.offset + L

    def update_and_fetch(
        self, keys: mx.array, values: mx.array
    ) -> tuple[mx.array, mx.array]:
        """Append ``L`` tokens and return all cached tokens.

        Args:
            keys: Rotated. Shape ``(B, Hk, L, D)``.
            values: Shape ``(B, Hk, L, D)``.

        Returns:
            Keys and values of shape ``(B, Hk, offset, D)``.

        Raises:
            CacheError: ``B``, ``Hk`` or ``D`` differs from the cached tokens'.
        """
        L = keys.shape[2]
        end = self.offset + L
        self._keys = self._grown(self._keys, keys, end)
        self._values = self._grown(self._values, values, end)
        write(self._keys, self.offset, keys)
        write(self._values, self.offset, values)
        self.offset = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    @property
    def room(self) -> int:
        """How many tokens the buffers have room for."""
        return 0 if self._keys is None else int(self._keys.shape[2])

    @property
    def trimmable_tokens(self) -> int:
        """How many tokens ``trim`` can remove."""
        return self.offset

    def trim(self, n: int) -> None:
        """Remove the last ``n`` tokens.

        Raises:
            CacheError: ``n`` is negative or over ``trimmable_tokens``.
        """
        check_trim(n, self.trimmable_tokens)
        self.offset -= n

    @property
    def state(self) -> list[mx.array]:
        """The buffers, for ``mx.eval``."""
        return [array for array in (self._keys, self._values) if array is not None]

    @staticmethod
    def room_for(tokens: int) -> int:
        """Return the room of a buffer that holds ``tokens`` tokens."""
        room = 0
        while room < tokens:
            steps = room // GROWTH // STEP_TOKENS
            room += max(steps, 1) * STEP_TOKENS
        return room

    def nbytes_for(self, tokens: int, *, token_bytes: int) -> int:
        """Count the bytes of the buffers once ``tokens`` are held.

        Args:
            token_bytes: Bytes of one token's key and value.
        """
        return self.room_for(tokens) * token_bytes

    def _grown(self, buffer: mx.array | None, new: mx.array, end: int) -> mx.array:
        """Return a buffer with room for ``end`` tokens that holds the old ones."""
        if buffer is None:
            return make_buffer(new, self.room_for(end))
        if end <= buffer.shape[2]:
            return buffer
        more = self.room_for(end) - self.offset
        grown = append(buffer[:, :, : self.offset], make_buffer(new, more))
        # Evaluate now: otherwise the old and new buffers of all layers are held at once.
        mx.eval(grown)
        return grown
