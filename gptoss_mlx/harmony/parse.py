"""Token ids to messages, channel by channel, as they arrive.

Source: https://github.com/openai/harmony/blob/main/src/encoding.rs
"""

from __future__ import annotations

from dataclasses import dataclass

from gptoss_mlx.tokenizer import SPECIAL_TOKENS, StreamDecoder, Tokenizer

__all__ = ["STOP_TOKENS", "Delta", "StreamParser"]

STOP_TOKENS = frozenset(
    SPECIAL_TOKENS[text] for text in ("<|return|>", "<|call|>", "<|endoftext|>")
)
"""What ends an assistant's turn. ``<|end|>`` ends a message only."""

START = SPECIAL_TOKENS["<|start|>"]
CHANNEL = SPECIAL_TOKENS["<|channel|>"]
MESSAGE = SPECIAL_TOKENS["<|message|>"]
END = SPECIAL_TOKENS["<|end|>"]

KNOWN_CHANNELS = ("analysis", "commentary", "final")


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message.

    Attributes:
        channel: As the header names it; ``final`` where it names none.
        text: What follows the message's earlier pieces. Never empty.
        recipient: Whom the message calls, e.g. ``functions.get_weather``, or None.
    """

    channel: str
    text: str
    recipient: str | None = None


class StreamParser:
    """Reads what the model writes after ``<|start|>assistant``.

    It takes any ids and raises nothing. Structure in a wrong place is read as far as it
    makes sense: a message without ``<|message|>`` has what follows its channel as text.

    Attributes:
        done: A token of ``STOP_TOKENS`` came. Tokens after it are ignored.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.done = False
        self._tokenizer = tokenizer
        self._decoder = StreamDecoder(tokenizer)
        self._header: list[int] | None = []
        self._channel = "final"
        self._recipient: str | None = None

    def push(self, token: int) -> list[Delta]:
        """Take the next token; return the text it completes."""
        if self.done:
            return []
        if token in STOP_TOKENS:
            self.done = True
            return self._end_message()
        if token in (START, END):
            deltas = self._end_message()
            self._header = []
            return deltas
        if self._header is not None:
            if token == MESSAGE:
                self._read_header()
            else:
                self._header.append(token)
            return []
        if token == CHANNEL:
            deltas = self._end_message()
            self._header = [CHANNEL]
            return deltas
        return self._deltas(self._decoder.push(token))

    def finish(self) -> list[Delta]:
        """Return what is left when no more tokens come, and be done."""
        deltas = [] if self.done else self._end_message()
        self.done = True
        return deltas

    def _deltas(self, text: str) -> list[Delta]:
        return [Delta(self._channel, text, self._recipient)] if text else []

    def _end_message(self) -> list[Delta]:
        """End the message at hand; a header that never ended gives up its text."""
        text = self._read_header() if self._header is not None else ""
        return self._deltas(text + self._decoder.flush())

    def _read_header(self) -> str:
        """Read channel and recipient out of the header; return the words after them."""
        header, self._header = self._header or [], None
        self._channel, self._recipient = "final", None
        role, text = header, ""
        if CHANNEL in header:
            at = header.index(CHANNEL)
            role = header[:at]
            text = self._tokenizer.decode(header[at + 1 :])
            for channel in KNOWN_CHANNELS:
                if text.startswith(channel):
                    self._channel, text = channel, text.removeprefix(channel)
                    break
        words = f"{self._tokenizer.decode(role)} {text}".split()
        for word in words:
            if word.startswith("to="):
                self._recipient = word.removeprefix("to=").partition("<|")[0]
        return text if CHANNEL in header else ""
