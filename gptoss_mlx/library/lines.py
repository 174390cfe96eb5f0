"""Lines of a long text in little memory."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

__all__ = ["Block", "PackedLines", "pack", "packed", "unpacked"]

_BLOCK_CHARACTERS = 16_000
# Who reads from the beginning to the end looks back a little.
_KEPT_BLOCKS = 4


class Block(NamedTuple):
    """Consecutive lines.

    Attributes:
        first: Index of the first line.
        content: The lines as :func:`packed` returns them.
    """

    first: int
    content: bytes


class PackedLines(Sequence[str]):
    """Lines that are decompressed when they are read."""

    def __init__(self, length: int, blocks: Sequence[Block]) -> None:
        """Use blocks in the order of their lines.

        Args:
            length: How many lines there are. Those of no block are empty.
            blocks: They do not overlap.
        """
        self._length = length
        self._blocks = blocks
        self._firsts = [block.first for block in blocks]
        self._known: OrderedDict[int, list[str]] = OrderedDict()
        # The lines that were read last.
        self._first = 0
        self._lines: list[str] = []

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Return a line, or the lines of a slice."""
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(self._length)))
        place = index - self._first
        if 0 <= place < len(self._lines):
            return self._lines[place]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        index %= self._length
        number = bisect_right(self._firsts, index) - 1
        if number < 0:
            return ""
        self._first, self._lines = self._firsts[number], self._unpack(number)
        place = index - self._first
        return self._lines[place] if place < len(self._lines) else ""

    def __iter__(self) -> Iterator[str]:
        done = 0
        for first, content in self._blocks:
            for _ in range(first - done):
                yield ""
            lines = unpacked(content).split("\n")
            yield from lines
            done = first + len(lines)
        for _ in range(self._length - done):
            yield ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            ours == theirs for ours, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PackedLines({self._length:,} lines)"

    def _unpack(self, number: int) -> list[str]:
        lines = self._known.pop(number, None)
        if lines is None:
            lines = unpacked(self._blocks[number].content).split("\n")
        self._known[number] = lines
        if len(self._known) > _KEPT_BLOCKS:
            self._known.popitem(last=False)
        return lines


def pack(lines: Iterable[str]) -> PackedLines:
    """Pack lines, none of which contains a line feed."""
    blocks: list[Block] = []
    waiting: list[str] = []
    first = size = 0
    for line in lines:
        waiting.append(line)
        size += len(line) + 1
        if size >= _BLOCK_CHARACTERS:
            blocks.append(Block(first, packed("\n".join(waiting))))
            first += len(waiting)
            waiting, size = [], 0
    if waiting:
        blocks.append(Block(first, packed("\n".join(waiting))))
    return PackedLines(first + len(waiting), blocks)


def packed(text: str) -> bytes:
    """Compress a text. Halves of a pair, which UTF-8 does not have, become "?"."""
    return zlib.compress(text.encode(errors="replace"), 1)


def unpacked(content: bytes) -> str:
    """Return the text that :func:`packed` has compressed."""
    return zlib.decompress(content).decode()
