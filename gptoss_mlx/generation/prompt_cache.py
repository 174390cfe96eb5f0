"""The KV cache of a conversation. The next prompt reuses the common prefix.

Harmony drops the reasoning after each turn, so every next prompt differs from the cached
tokens somewhere in their middle. Full layers are trimmed to that position. Sliding layers
no longer hold the window before it: they are restored from a snapshot, a copy of their
window that was taken there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import mlx.core as mx

from gptoss_mlx.errors import CacheError
from gptoss_mlx.generation.language_model import LanguageModel, Layerwise
from gptoss_mlx.generation.snapshot import Snapshot
from gptoss_mlx.model.cache_window import MAX_WINDOWS, SPARE_TOKENS
from gptoss_mlx.model.full_cache import FullCache
from gptoss_mlx.model.sliding_cache import SlidingCache
from gptoss_mlx.tokenizer import CHANNEL, END, MESSAGE, START

__all__ = [
    "BOUNDARIES",
    "PromptCache",
    "common_prefix",
]

BOUNDARIES = frozenset({CHANNEL, START, END, MESSAGE})
"""Tokens after which a later prompt may differ."""

# The oldest snapshots, in the instructions: they serve the next conversation too.
KEPT_FIRST = 3


class PromptCache:
    """Keys and values of one conversation, trimmed to the prefix of the next prompt.

    ``begin`` a prompt, ``prefill`` the tokens it returns, then ``decode`` and ``record``
    each token of the answer. The same cache takes any next prompt.

    Attributes:
        model: Computes keys, values and hidden states.
        tokens: Tokens whose keys and values are cached, answers included.
        cached_tokens: How many tokens of the last prompt were in the cache.
        begun: How many prompts have begun.
        layers: One cache per layer.
        snapshots: In order of position.
        turn_start: Where the turn's first answer began.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        max_snapshots: int = MAX_WINDOWS,
        boundaries: frozenset[int] = BOUNDARIES,
    ) -> None:
        """Make an empty cache.

        Args:
            model: Computes keys, values and hidden states.
            max_snapshots: The most to keep. The oldest go first, except those at the start
                of the text and the one at the start of the turn's answer. 0: none.
                One takes 3.3 MB for gpt-oss-20b in bf16, and 5.0 MB for -120b.
            boundaries: Tokens after which snapshots are taken.

        Raises:
            ValueError: ``max_snapshots`` is negative.
        """
        if max_snapshots < 0:
            raise ValueError(
                f"[PromptCache] max_snapshots must be 0 or more: {max_snapshots}."
            )
        self.model = model
        self.max_snapshots = max_snapshots
        self.boundaries = boundaries
        self.begun = 0
        self.clear()

    def clear(self) -> None:
        """Empty the cache."""
        self.tokens: list[int] = []
        self.cached_tokens = 0
        self.layers = self.model.make_cache()
        self.snapshots: list[Snapshot] = []
        self.turn_start = 0
        self._prompt: list[int] = []
        self._planned: list[tuple[int, int]] = []

    def drop_snapshots(self) -> None:
        """Free the snapshots, also in the middle of an answer.

        The next prompt may have to be computed from its start.
        """
        self.snapshots = []

    def begin(self, prompt: Sequence[int]) -> list[int]:
        """Trim the cache to the prefix that it has in common with ``prompt``.

        Returns:
            The tokens of ``prompt`` to ``prefill``: at least the last, from whose hidden
            state the first token of the answer is drawn.

        Raises:
            ValueError: ``prompt`` is empty.
        """
        if not prompt:
            raise ValueError("[PromptCache] prompt must have at least one token.")
        self.begun += 1
        shared = min(common_prefix(self.tokens, prompt), len(prompt) - 1)
        # An answer after a tool's result is part of the same turn. The next turn drops
        # everything from the first answer of this turn on.
        continues = 0 < len(self.tokens) <= shared
        self._go_back(shared)
        self.cached_tokens = len(self.tokens)
        self._prompt = list(prompt)
        if not continues:
            self.turn_start = len(prompt)
        self._plan()
        return self._prompt[self.cached_tokens :]

    def prefill(self, tokens: Sequence[int]) -> mx.array | None:
        """Process the next chunk of the prompt.

        Returns:
            The hidden state of the prompt's last token, evaluated, of shape
            ``(1, 1, hidden_size)``; None if more of the prompt is to come.

        Raises:
            CacheError: They are not the next tokens of the prompt.
        """
        return self._prefill(
            tokens, lambda: self._compute(mx.array([list(tokens)]), last_only=True)
        )

    def prefill_layerwise(
        self,
        chunks: Sequence[Sequence[int]],
        progress: Callable[[int, int], None] | None = None,
    ) -> mx.array | None:
        """Process several chunks, all of them in a layer before the next layer.

        Args:
            chunks: The next tokens of the prompt.
            progress: Called with (tokens done, all tokens of the chunks). After an error
                that it raises the cache must be cleared, as after any other.

        Returns:
            As ``prefill``.

        Raises:
            CacheError: They are not the next tokens of the prompt.
        """
        model = self.model.model
        if not isinstance(model, Layerwise):
            raise TypeError("[PromptCache] the model must take a prompt layer by layer.")
        tokens = [token for chunk in chunks for token in chunk]
        arrays = [mx.array([list(chunk)]) for chunk in chunks]
        return self._prefill(
            tokens,
            lambda: self._growing(lambda: model.prefill(arrays, self.layers, progress)),
        )

    @property
    def is_layerwise(self) -> bool:
        """Whether the model takes a prompt layer by layer."""
        return isinstance(self.model.model, Layerwise)

    def _prefill(
        self, tokens: Sequence[int], compute: Callable[[], mx.array]
    ) -> mx.array | None:
        start, end = len(self.tokens), len(self.tokens) + len(tokens)
        if not tokens or list(tokens) != self._prompt[start:end]:
            raise CacheError(
                f"Tokens {start} to {end} must be the prompt's but are not.",
                hint="Begin the prompt again: cache.begin(prompt)",
            )
        here = [span for span in self._planned if start < span[1] <= end]
        sliding = self._sliding
        for layer in sliding:
            layer.watch(last for _, last in here)
        hidden: mx.array | None = compute()
        taken = [
            Snapshot(first, last, tuple(layer.watched[last] for layer in sliding))
            for first, last in here
        ]
        for layer in sliding:
            layer.watch(())
        if end < len(self._prompt):
            # The last layer's output is never computed, only its keys and values.
            hidden = None
        wanted = [array for layer in self.layers for array in layer.state]
        wanted += [array for point in taken for array in point.arrays]
        mx.eval(wanted, [] if hidden is None else hidden)
        self.tokens += tokens
        for point in taken:
            self._keep(point)
        if hidden is not None:
            mx.clear_cache()  # decoding needs none of a chunk's buffers
        return hidden

    def decode(self, token: mx.array) -> mx.array:
        """Process one sampled token, which may still be unevaluated.

        Args:
            token: Shape ``(1,)``. ``record`` its id once known, before the next token.

        Returns:
            Its hidden state, unevaluated. Shape ``(1, 1, hidden_size)``.
        """
        return self._compute(token[:, None])

    def _compute(self, tokens: mx.array, *, last_only: bool = False) -> mx.array:
        """Compute the hidden states of tokens ``(1, L)``, unevaluated."""
        return self._growing(
            lambda: self.model.model(tokens, self.layers, last_only=last_only)
        )

    def _growing(self, compute: Callable[[], mx.array]) -> mx.array:
        """Compute hidden states; give buffers back that have become too short."""
        before = self._room
        hidden = compute()
        if self._room != before:
            mx.clear_cache()  # the old, shorter buffers are not used again
        return hidden

    @property
    def _room(self) -> int:
        """Room of the full layers in tokens; their buffers grow together."""
        full = (layer.room for layer in self.layers if isinstance(layer, FullCache))
        return next(full, 0)

    def record(self, token: int) -> None:
        """Record the id of the token that ``decode`` has processed."""
        self.tokens.append(token)
        position = len(self.tokens)
        if self.max_snapshots and self._is_wanted(position, token):
            self._take(position)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, snapshots included."""
        layers = sum(array.nbytes for layer in self.layers for array in layer.state)
        return layers + sum(point.nbytes for point in self.snapshots)

    @property
    def _sliding(self) -> list[SlidingCache]:
        return [layer for layer in self.layers if isinstance(layer, SlidingCache)]

    @property
    def _window(self) -> int:
        return max((layer.window for layer in self._sliding), default=1)

    def _is_wanted(self, position: int, token: int) -> bool:
        # While the text is shorter than a window, one snapshot serves every position.
        if position <= self._window - 1:
            return position == self._window - 1
        return token in self.boundaries

    def _nearest(self, position: int) -> tuple[int, Snapshot | None]:
        """Find the last position that can be restored, and the snapshot for it."""
        best, found = 0, None
        if all(
            layer.offset - position <= layer.trimmable_tokens for layer in self._sliding
        ):
            return position, None
        for point in self.snapshots:
            reached = min(position, point.offset)
            if reached > best and all(
                window.reaches(reached, layer.window)
                for window, layer in zip(point.windows, self._sliding, strict=True)
            ):
                best, found = reached, point
        return best, found

    def _go_back(self, position: int) -> None:
        position, point = self._nearest(position)
        if position == 0:
            self.clear()
            return
        windows = iter(point.windows if point is not None else ())
        for layer in self.layers:
            if point is not None and isinstance(layer, SlidingCache):
                layer.restore(next(windows), position)
            else:
                layer.trim(layer.offset - position)
        del self.tokens[position:]
        self.snapshots = [
            cut
            for point in self.snapshots
            if (cut := self._cut(point, position)) is not None
        ]

    def _cut(self, point: Snapshot, position: int) -> Snapshot | None:
        """Return the snapshot for a text that ends at ``position``, if it has one."""
        if point.offset <= position:
            return point
        if point.first > position or not all(
            window.reaches(position, layer.window)
            for window, layer in zip(point.windows, self._sliding, strict=True)
        ):
            return None
        windows = tuple(window.until(position) for window in point.windows)
        return replace(point, offset=position, windows=windows)

    def _plan(self) -> None:
        """Choose the positions of the prompt where snapshots will be taken."""
        self._planned = []
        if not (self.max_snapshots and self._sliding):
            return
        for position in range(len(self.tokens) + 1, len(self._prompt) + 1):
            # The last two: the prompt's end, and the position for the same prompt again.
            if (
                self._is_wanted(position, self._prompt[position - 1])
                or position >= len(self._prompt) - 1
            ):
                last = self._planned[-1] if self._planned else None
                if last is not None and position - last[0] <= SPARE_TOKENS:
                    self._planned[-1] = (last[0], position)
                else:
                    self._planned.append((position, position))
        held = [(point.first, point.offset) for point in self.snapshots]
        kept = self._chosen(held + self._planned)
        self._planned = [span for span in self._planned if span in kept]

    def _take(self, position: int) -> None:
        windows = tuple(layer.window_at(position) for layer in self._sliding)
        point = Snapshot(position, position, windows)
        mx.async_eval(*point.arrays)  # type: ignore[no-untyped-call]
        self._keep(point)

    def _keep(self, point: Snapshot) -> None:
        """Add a snapshot; it replaces one that it covers."""
        last = self.snapshots[-1] if self.snapshots else None
        if last is not None and point.offset - last.first <= SPARE_TOKENS:
            needed = min(last.first, point.first)
            if all(
                window.reaches(needed, layer.window)
                for window, layer in zip(point.windows, self._sliding, strict=True)
            ):
                point = replace(point, first=needed)
                self.snapshots.pop()
        self.snapshots.append(point)
        kept = self._chosen([(point.first, point.offset) for point in self.snapshots])
        self.snapshots = [
            point for point in self.snapshots if (point.first, point.offset) in kept
        ]

    def _chosen(self, spans: list[tuple[int, int]]) -> set[tuple[int, int]]:
        """Choose the snapshots to keep, from their spans of positions."""
        first = spans[:KEPT_FIRST]
        turn = [span for span in spans if span[0] <= self.turn_start + 1 <= span[1] + 1]
        ordered = [*spans[-1:], *turn[-1:], *first, *reversed(spans)]
        return set(list(dict.fromkeys(ordered))[: self.max_snapshots])


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the first tokens that ``a`` and ``b`` share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
