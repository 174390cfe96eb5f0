"""Keys and values of the tokens that were read, one cache a layer.

The names ``offset``, ``update_and_fetch`` and ``state`` are mlx-lm's, so that its own
generation runs on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mlx.core as mx

from gptoss_mlx.config import LayerType, ModelConfig
from gptoss_mlx.errors import CacheError

__all__ = [
    "MAX_WINDOWS",
    "SPARE_TOKENS",
    "Cache",
    "FullCache",
    "SlidingCache",
    "Window",
    "layer_cache",
]

# Buffers grow by at least this many tokens, so that most steps write in place.
STEP_TOKENS = 256

# And full ones by this share of what they have room for: by STEP_TOKENS alone, the old
# buffers of a long text would add up to its length times as many bytes.
GROWTH = 8

SPARE_TOKENS = 8
"""How many positions before its own a ``Window`` can be restored at, if they were held."""

MAX_WINDOWS = 16
"""How many windows of each sliding layer are kept to go back to, unless asked otherwise."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a sliding layer held at one position, to go back to.

    Attributes:
        offset: The position: tokens seen.
        keys: Of the last tokens before it. Shape ``(B, Hk, n, D)``.
        values: Shape ``(B, Hk, n, D)``.
    """

    offset: int
    keys: mx.array
    values: mx.array

    @property
    def first(self) -> int:
        """The position of the first key."""
        return self.offset - int(self.keys.shape[2])

    def reaches(self, position: int, window: int) -> bool:
        """Tell whether a layer that sees ``window`` tokens can go on at ``position``."""
        needed = max(position - (window - 1), 0)
        return self.first <= needed and position <= self.offset

    def until(self, position: int) -> Window:
        """Return the part before ``position``, which is not over ``offset``."""
        if position == self.offset:
            return self
        n = position - self.first
        return Window(position, _copy(self.keys[:, :, :n]), _copy(self.values[:, :, :n]))


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
        L = keys.shape[2]
        end = self.offset + L
        self._keys = self._grown(self._keys, keys, end)
        self._values = self._grown(self._values, values, end)
        _write(self._keys, self.offset, keys)
        _write(self._values, self.offset, values)
        self.offset = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    @property
    def room(self) -> int:
        """How many tokens the buffers have room for."""
        return 0 if self._keys is None else int(self._keys.shape[2])

    @property
    def trimmable_tokens(self) -> int:
        """How many tokens ``trim`` can take back."""
        return self.offset

    def trim(self, n: int) -> None:
        """Forget the last ``n`` tokens.

        Raises:
            CacheError: ``n`` is negative or over ``trimmable_tokens``.
        """
        _check_trim(n, self.trimmable_tokens)
        self.offset -= n

    @property
    def state(self) -> list[mx.array]:
        """The buffers, for ``mx.eval``."""
        return [array for array in (self._keys, self._values) if array is not None]

    @staticmethod
    def room_for(tokens: int) -> int:
        """Return how many tokens a buffer has room for that holds ``tokens``."""
        room = 0
        while room < tokens:
            steps = room // GROWTH // STEP_TOKENS
            room += max(steps, 1) * STEP_TOKENS
        return room

    def nbytes_for(self, tokens: int, *, token_bytes: int) -> int:
        """Count the bytes of the buffers once ``tokens`` are held.

        Args:
            token_bytes: Of one token's key and value.
        """
        return self.room_for(tokens) * token_bytes

    def _grown(self, buffer: mx.array | None, new: mx.array, end: int) -> mx.array:
        """Return a buffer with room for ``end`` tokens and the held ones in it."""
        if buffer is None:
            return _room(new, self.room_for(end))
        if end <= buffer.shape[2]:
            return buffer
        more = self.room_for(end) - self.offset
        grown = _append(buffer[:, :, : self.offset], _room(new, more))
        # Now: else the old and new buffers of all layers are held at once.
        mx.eval(grown)
        return grown


class SlidingCache:
    """The last keys and values of a layer that sees ``window`` tokens, itself included.

    A step needs ``window - 1`` older tokens. ``slack_tokens`` more are kept, so that as
    many can be taken back at once. Further back leads ``restore``, to a position whose
    window was kept: by ``window_at``, or by ``watch`` while a chunk passes over it.

    Attributes:
        offset: Tokens seen; the absolute position of the next one.
        watched: The windows that ``watch`` asked for, by position.
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
            new_keys, all_keys = self._compact(self._keys, keys)
            new_values, all_values = self._compact(self._values, values)
            held = min(all_keys.shape[2], self._kept_tokens)
            # Together and last: Ctrl-C may come at any call above.
            self._keys, self._values = new_keys, new_values
            self._held = held
            self.offset += L
        else:
            held = self._held + L
            _write(self._keys, self._held, keys)
            _write(self._values, self._held, values)
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
        """How many tokens ``trim`` can take back: at least the slack, if it is filled."""
        if self._held == self.offset:
            return self.offset
        return self._held - (self.window - 1)

    def trim(self, n: int) -> None:
        """Forget the last ``n`` tokens.

        Raises:
            CacheError: ``n`` is negative or over ``trimmable_tokens``.
        """
        _check_trim(n, self.trimmable_tokens)
        self.offset -= n
        self._held -= n

    def watch(self, positions: Iterable[int]) -> None:
        """Keep the windows at ``positions`` in ``watched`` as chunks pass over them.

        So a prefill need not stop at each. An earlier watch and its windows are forgotten.
        """
        self._watching = tuple(positions)
        self.watched = {}

    def window_at(self, position: int) -> Window:
        """Return what to ``restore`` at ``position``, a copy.

        Raises:
            CacheError: ``position`` lies ahead, or more than ``trimmable_tokens`` back.
        """
        if self._keys is None or self._values is None:
            raise CacheError("An empty cache has no window.")
        _check_trim(self.offset - position, self.trimmable_tokens)
        held = slice(0, self._held)
        return self._window(position, self._keys[:, :, held], self._values[:, :, held])

    def restore(self, window: Window, position: int | None = None) -> None:
        """Go back, or on, to where ``window`` was taken.

        Args:
            window: From this layer; its tokens must be the text's.
            position: Up to ``SPARE_TOKENS`` before ``window.offset``. None: there.

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
            _append(self._keys[:, :, :0], window.keys)  # checks the shape
        tokens = self._room_for(position - window.first)
        keys, values = _room(window.keys, tokens), _room(window.values, tokens)
        _write(keys, 0, window.keys)
        _write(values, 0, window.values)
        held = position - window.first
        self._keys, self._values = keys, values
        self._held = held
        self.offset = position

    def _window(self, position: int, keys: mx.array, values: mx.array) -> Window:
        """Cut the window at ``position`` out of the last keys and values held."""
        last = int(keys.shape[2]) - (self.offset - position)
        first = max(last - self.window_tokens, 0)
        return Window(
            position, _copy(keys[:, :, first:last]), _copy(values[:, :, first:last])
        )

    @property
    def state(self) -> list[mx.array]:
        """The buffers, for ``mx.eval``."""
        return [array for array in (self._keys, self._values) if array is not None]

    def nbytes_for(self, tokens: int, *, token_bytes: int) -> int:
        """Count the bytes of the buffers; see ``FullCache.nbytes_for``."""
        return self._room_for(tokens) * token_bytes if tokens else 0

    def window_nbytes_for(self, tokens: int, *, token_bytes: int) -> int:
        """Count the bytes of a ``Window`` that is kept after ``tokens``, at most."""
        return min(tokens, self.window_tokens) * token_bytes

    @property
    def _kept_tokens(self) -> int:
        return self.window - 1 + self.slack_tokens

    def _room_for(self, tokens: int) -> int:
        """Return how many tokens a buffer has room for that holds ``tokens``.

        It grows with them, whatever the window: that is a number in a file.
        """
        held = min(tokens, self._kept_tokens)
        most = _whole_steps(self._kept_tokens + STEP_TOKENS)
        return min(_whole_steps(held + max(STEP_TOKENS, held // GROWTH)), most)

    @property
    def window_tokens(self) -> int:
        """How many tokens a ``Window`` of this layer has at most."""
        return self.window - 1 + SPARE_TOKENS

    def _compact(self, buffer: mx.array | None, new: mx.array) -> tuple[mx.array, mx.array]:
        """Move the last tokens to the front of a new buffer.

        Returns:
            The buffer, and all of the held and new tokens for this step's attention.
        """
        whole = new if buffer is None else _append(buffer[:, :, : self._held], new)
        last = whole[:, :, -self._kept_tokens :]
        moved = _room(last, self._room_for(last.shape[2]))
        _write(moved, 0, last)
        return moved, whole


Cache = FullCache | SlidingCache


def layer_cache(config: ModelConfig, kind: LayerType) -> Cache:
    """Make the empty cache of a layer."""
    if kind == "sliding_attention":
        return SlidingCache(config.sliding_window)
    return FullCache()


def _copy(part: mx.array) -> mx.array:
    """Copy, so that the buffer it is a part of can go."""
    return mx.contiguous(part)


def _room(like: mx.array, tokens: int) -> mx.array:
    """Make a buffer for ``tokens`` tokens."""
    B, Hk, _, D = like.shape
    return mx.zeros((B, Hk, tokens, D), like.dtype)


def _whole_steps(tokens: int) -> int:
    return -(-tokens // STEP_TOKENS) * STEP_TOKENS


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


def _check_trim(n: int, trimmable_tokens: int) -> None:
    if not 0 <= n <= trimmable_tokens:
        raise CacheError(f"trim must take from 0 to {trimmable_tokens} tokens but is {n}.")
