"""Parses token ids to messages, channel by channel, as they arrive.

Source: https://github.com/openai/harmony/blob/main/src/encoding.rs
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gptoss_mlx.harmony.header import Header, read_cut_header, read_header
from gptoss_mlx.harmony.messages import Message, Role
from gptoss_mlx.tokenizer import (
    CALL,
    CHANNEL,
    END,
    MESSAGE,
    START,
    STOP_TOKENS,
    StreamDecoder,
    Tokenizer,
)

__all__ = ["Delta", "ParsedMessage", "StreamParser", "parse"]


MAX_PROBLEM = 500
"""The most characters of a message's ``problem``."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message.

    Attributes:
        channel: The header's channel; ``final`` if it names none.
        text: The text after the message's earlier pieces. Never empty.
        recipient: The addressee of a call, e.g. ``functions.get_weather``, or None.
        role: The message's role.
        index: The message's later index in ``StreamParser.messages``.
    """

    channel: str
    text: str
    recipient: str | None = None
    role: Role = "assistant"
    index: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message and its tokens.

    Attributes:
        message: Its content is a text.
        tokens: All of its tokens, in order. All messages' tokens together are the input.
        end: The token that ended it; None if the input or the next message did.
        problem: How the tokens differ from the rendered form, or None.
    """

    message: Message
    tokens: tuple[int, ...]
    end: int | None
    problem: str | None = None

    @property
    def malformed(self) -> bool:
        """Whether something had to be guessed."""
        return self.problem is not None


def parse(
    tokens: Iterable[int], tokenizer: Tokenizer, *, role: Role | None = None
) -> list[ParsedMessage]:
    """Parse a whole conversation, or a model's output. No error is raised.

    Args:
        tokens: Any ids.
        tokenizer: The model's vocabulary.
        role: The first message's, if the prompt ended with ``<|start|>`` and this role.
    """
    parser = StreamParser(tokenizer, role=role)
    for token in tokens:
        parser.push(token)
    parser.finish()
    return parser.messages


class StreamParser:
    """Parses tokens one by one: the model's output after ``<|start|>assistant``.

    It takes any ids, raises no error and loses nothing. ``<|start|>`` and the tokens that
    end a message are a boundary everywhere; docs/harmony.md lists how each malformed form
    is parsed.

    Attributes:
        messages: The complete messages.
        done: Whether a token of ``STOP_TOKENS`` came. Later tokens are still parsed.
    """

    def __init__(self, tokenizer: Tokenizer, *, role: Role | None = "assistant") -> None:
        """Begin after ``<|start|>`` and ``role``, or before ``<|start|>`` if it is None."""
        self.messages: list[ParsedMessage] = []
        self.done = False
        self._tokenizer = tokenizer
        self._decoder = StreamDecoder(tokenizer)
        self._tokens: list[int] = []  # of the current message, and any strays before it
        self._role = role
        self._words: list[int] | None = None if role is None else []  # while in a header
        self._header: Header | None = None  # while in content
        self._text: list[str] = []
        self._problems: list[str] = []

    def push(self, token: int) -> list[Delta]:
        """Take the next token; return the text it completes."""
        self.done = self.done or token in STOP_TOKENS
        if token == START:
            return self._start(token)
        if token == END or token in STOP_TOKENS:
            return self._stop(token)
        if self._header is not None:
            if token == CHANNEL:
                return self._next_channel()
            self._tokens.append(token)
            if self._tokenizer.is_special(token):
                self._note(f"{self._tokenizer.decode([token])} in the content")
            return self._deltas(self._decoder.push(token))
        return self._push_header(token)

    def finish(self) -> list[Delta]:
        """Return the remaining text when no more tokens come, and finish."""
        self.done = True
        if self._header is not None:
            return self._end_message(None)
        if self._words is not None and self._tokens:
            if not self._is_open:
                self._note("the tokens end in a header")
            return self._end_message(None)
        if self._tokens:
            self._keep_strays()
        return []

    def _push_header(self, token: int) -> list[Delta]:
        """Take a token of a header, or one between two messages."""
        if self._words is None:
            if token in (MESSAGE, CHANNEL):
                self._role = "assistant"
            elif not self._tokenizer.decode([token]).strip():
                self._tokens.append(token)
                self._note("space between messages")
                return []
            self._note("no <|start|>")
            self._words = []
        self._tokens.append(token)
        if token == MESSAGE:
            self._header = read_header(self._words, self._tokenizer, role=self._role)
            self._words = None
        else:
            self._words.append(token)
        return []

    def _start(self, token: int) -> list[Delta]:
        """Begin a message, and end the current one."""
        deltas = []
        if self._header is not None or self._words:
            self._note("cut off by <|start|>")
            deltas = self._end_message(None)
        elif self._words is not None and self._tokens:
            self._note("<|start|> twice")
        self._tokens.append(token)
        self._words = []
        self._role = None
        return deltas

    def _stop(self, token: int) -> list[Delta]:
        """End the current message; between messages there is none."""
        self._tokens.append(token)
        if self._header is None and self._words is None:
            self._note(f"{self._tokenizer.decode([token])} between messages")
            return []
        return self._end_message(token)

    def _next_channel(self) -> list[Delta]:
        """Begin a message whose ``<|start|>assistant`` is missing."""
        self._note("cut off by <|channel|>")
        deltas = self._end_message(None)
        self._push_header(CHANNEL)
        return deltas

    def _end_message(self, end: int | None) -> list[Delta]:
        """Add the current message to the complete ones."""
        header, text = self._header, self._decoder.flush()
        if header is None:
            words = self._words or []
            if end is not None or not self._is_open:
                self._note("no <|message|>")
            header = read_cut_header(words, self._tokenizer, role=self._role)
            text = header.rest
        self._header = header
        deltas = self._deltas(text)
        if end == CALL and header.role == "assistant" and header.recipient is None:
            self._note("<|call|> without a recipient")
        message = Message(
            header.role,
            "".join(self._text),
            header.channel,
            header.recipient,
            header.content_type,
            header.name,
        )
        problem = "; ".join(dict.fromkeys(self._problems + header.problems)) or None
        if problem is not None and len(problem) > MAX_PROBLEM:
            problem = f"{problem[:MAX_PROBLEM]}…"
        self.messages.append(ParsedMessage(message, tuple(self._tokens), end, problem))
        self._begin()
        return deltas

    @property
    def _is_open(self) -> bool:
        """Whether the tokens so far end as a prompt does: ``<|start|>assistant``."""
        words = self._words or []
        return self._role is None and self._tokenizer.decode(words) == "assistant"

    def _keep_strays(self) -> None:
        """Add tokens after the last message to it, or make a message of them."""
        strays = tuple(self._tokens)
        problem = "; ".join(self._problems)
        if self.messages:
            last = self.messages[-1]
            problem = f"{last.problem}; {problem}" if last.problem else problem
            self.messages[-1] = replace(last, tokens=last.tokens + strays, problem=problem)
        else:
            empty = Message("assistant", "")
            self.messages.append(ParsedMessage(empty, strays, None, problem))
        self._begin()

    def _begin(self) -> None:
        self._tokens, self._text, self._problems = [], [], []
        self._header = self._words = self._role = None

    def _note(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)

    def _deltas(self, text: str) -> list[Delta]:
        header = self._header
        if not text or header is None:
            return []
        self._text.append(text)
        channel = header.channel or "final"
        index = len(self.messages)
        return [Delta(channel, text, header.recipient, header.role, index)]
