"""Keys and values of the tokens that were read, one cache a layer.

The names ``offset``, ``update_and_fetch`` and ``state`` are mlx-lm's, so that its own
generation runs on them.
"""

from __future__ import annotations

import mlx.core as mx

from gptoss_mlx.errors import CacheError

__all__ = ["Cache", "FullCache", "SlidingCache"]

# Buffers grow by this many tokens, so that most steps write in place.
STEP_TOKENS = 256


class FullCache:
    """Every key and value, in a buffer that grows in steps.

    Attributes:
        offset: Tokens held; the absolute position of the next one.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def fetch_length(self, L: int) -> int:
        """Return how many keys ``update_and_fetch`` gives for ``L`` new tokens."""
        return self.offset + L

    def update_and_fetch(
        self, keys: mx.array, values: mx.array
    ) -> tuple[mx.array, mx.array]:
        """Append ``L`` tokens and return all that are held.

        Args:
            keys: Rotated. Shape ``(B, Hk, L, D)``.
            values: Shape ``(B, Hk, L, D)``.

        Returns:
            Keys and values of shape ``(B, Hk, offset, D)``.

        Raises:
            CacheError: ``B``, ``Hk`` or ``D`` differs from what is held.
        """
        end = self.offset + keys.shape[2]
        if self._keys is None or self._values is None:
            self._keys = _room(keys, end)
            self._values = _room(values, end)
        elif end > self._keys.shape[2]:
            more = end - self.offset
            held = slice(0, self.offset)
            self._keys = _append(self._keys[:, :, held], _room(keys, more))
            self._values = _append(self._values[:, :, held], _room(values, more))
        _write(self._keys, self.offset, keys)
        _write(self._values, self.offset, values)
        self.offset = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    @property
    def rewindable(self) -> int:
        """How many tokens ``rewind`` can take back."""
        return self.offset

    def rewind(self, n: int) -> None:
        """Forget the last ``n`` tokens.

        Raises:
            CacheError: ``n`` is negative or over ``rewindable``.
        """
        _check_rewind(n, self.rewindable)
        self.offset -= n

    @property
    def state(self) -> list[mx.array]:
        """The buffers, for ``mx.eval``."""
        return [array for array in (self._keys, self._values) if array is not None]


class SlidingCache:
    """The last keys and values of a layer that sees ``window`` tokens, itself included.

    A step needs ``window - 1`` older tokens. ``slack_tokens`` more are kept, so that as
    many can be taken back at once.

    Attributes:
        offset: Tokens seen; the absolute position of the next one.
    """

    def __init__(self, window: int, slack_tokens: int = 64) -> None:
        self.offset = 0
        self.window = window
        self.slack_tokens = slack_tokens
        self._held = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def fetch_length(self, L: int) -> int:
        """Return how many keys ``update_and_fetch`` gives for ``L`` new tokens."""
        return min(self._held, self.window - 1) + L

    def update_and_fetch(
        self, keys: mx.array, values: mx.array
    ) -> tuple[mx.array, mx.array]:
        """Append ``L`` tokens and return what the first of them sees, up to the last.

        Args:
            keys: Rotated. Shape ``(B, Hk, L, D)``.
            values: Shape ``(B, Hk, L, D)``.

        Returns:
            Keys and values of shape ``(B, Hk, min(offset, window - 1) + L, D)``.

        Raises:
            CacheError: ``B``, ``Hk`` or ``D`` differs from what is held.
        """
        L = keys.shape[2]
        fetched = self.fetch_length(L)
        if (
            self._keys is None
            or self._values is None
            or self._held + L > self._keys.shape[2]
        ):
            self._keys, all_keys = self._compact(self._keys, keys)
            self._values, all_values = self._compact(self._values, values)
            self._held = min(all_keys.shape[2], self._kept_tokens)
        else:
            _write(self._keys, self._held, keys)
            _write(self._values, self._held, values)
            self._held += L
            all_keys = self._keys[:, :, : self._held]
            all_values = self._values[:, :, : self._held]
        self.offset += L
        return all_keys[:, :, -fetched:], all_values[:, :, -fetched:]

    @property
    def rewindable(self) -> int:
        """How many tokens ``rewind`` can take back: at least the slack, if it is filled."""
        if self._held == self.offset:
            return self.offset
        return self._held - (self.window - 1)

    def rewind(self, n: int) -> None:
        """Forget the last ``n`` tokens.

        Raises:
            CacheError: ``n`` is negative or over ``rewindable``.
        """
        _check_rewind(n, self.rewindable)
        self.offset -= n
        self._held -= n

    @property
    def state(self) -> list[mx.array]:
        """The buffers, for ``mx.eval``."""
        return [array for array in (self._keys, self._values) if array is not None]

    @property
    def _kept_tokens(self) -> int:
        return self.window - 1 + self.slack_tokens

    def _compact(self, buffer: mx.array | None, new: mx.array) -> tuple[mx.array, mx.array]:
        """Move the last tokens to the front of a new buffer.

        Returns:
            The buffer, and all of the held and new tokens for this step's attention.
        """
        whole = new if buffer is None else _append(buffer[:, :, : self._held], new)
        last = whole[:, :, -self._kept_tokens :]
        moved = _room(last, self._kept_tokens + STEP_TOKENS)
        _write(moved, 0, last)
        return moved, whole


Cache = FullCache | SlidingCache


def _room(like: mx.array, tokens: int) -> mx.array:
    """Make a buffer for ``tokens`` tokens, rounded up to a step."""
    B, Hk, _, D = like.shape
    steps = -(-tokens // STEP_TOKENS)
    return mx.zeros((B, Hk, steps * STEP_TOKENS, D), like.dtype)


def _append(held: mx.array, new: mx.array) -> mx.array:
    if held.shape[:2] != new.shape[:2] or held.shape[3] != new.shape[3]:
        raise CacheError(
            f"New keys must match the cache's shape {tuple(held.shape)} but for the "
            f"tokens, but have {tuple(new.shape)}."
        )
    return mx.concatenate([held, new], axis=2)


def _write(buffer: mx.array, at: int, new: mx.array) -> None:
    """Write ``new`` into ``buffer`` from token ``at`` on.

    MLX does not check where it writes: past the end it corrupts the heap.
    """
    B, Hk, room, D = buffer.shape
    end = at + new.shape[2]
    if (new.shape[0], new.shape[1], new.shape[3]) != (B, Hk, D) or end > room:
        raise CacheError(
            f"Keys of shape {tuple(new.shape)} must fit a cache of shape "
            f"{tuple(buffer.shape)} from token {at} on but do not."
        )
    buffer[:, :, at:end] = new


def _check_rewind(n: int, rewindable: int) -> None:
    if not 0 <= n <= rewindable:
        raise CacheError(f"A rewind must be from 0 to {rewindable} tokens but is {n}.")
