"""The header of a message: role, channel, recipient and content type.

A model writes headers in more forms than the reference parses. All of them are parsed here;
docs/harmony.md lists them.

Source: https://github.com/openai/harmony/blob/main/docs/format.md
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from gptoss_mlx.harmony.messages import CHANNELS, ROLES, Role
from gptoss_mlx.tokenizer import CHANNEL, CONSTRAIN, Tokenizer

__all__ = ["Header", "read_cut_header", "read_header"]


WHITESPACE = re.compile(r"[ \t\n\r\f]+")
# Names that may be called without "to=" before them.
CALLABLE = re.compile(r"functions\.\S+|browser\.\S+|python")
CUT_RECIPIENT = re.compile(r"\s*to=([\w.-]+)")
CUT_TYPE = re.compile(r"\s*(<\|constrain\|>\s*\w+)")
CUT_BARE_TYPE = re.compile(r"\s+(json|code)\b\s*")


@dataclass(slots=True)
class Header:
    """The parsed fields of a header.

    Attributes:
        problems: How it differs from the rendered form. Empty: not at all.
        rest: Text after the header if ``<|message|>`` is missing.
    """

    role: Role = "assistant"
    name: str | None = None
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    problems: list[str] = field(default_factory=list)
    rest: str = ""


def read_header(
    tokens: Sequence[int], tokenizer: Tokenizer, *, role: Role | None
) -> Header:
    """Parse the tokens between ``<|start|>`` and ``<|message|>``.

    Args:
        tokens: Any ids. No error is raised.
        tokenizer: The model's vocabulary.
        role: The role, if the prompt has named it already. None: the header names it.
    """
    header = Header()
    sections = _sections(tokens, tokenizer, header)
    first = _words(sections[0][1])
    has_channel = any(special == CHANNEL for special, _ in sections)
    # Only tools address the model.
    by_tool = any("to=assistant" in _words(text) for _, text in sections)
    words = _read_role(header, first, role, has_channel=has_channel, by_tool=by_tool)
    for special, text in sections[1:]:
        found = _words(text)
        value = found[0] if found else ""
        if special == CHANNEL:
            if header.channel is not None:
                header.problems.append(
                    f"two channels, of which the first was {header.channel!r}"
                )
            header.channel = _channel(value, header)
        else:
            if header.content_type is not None:
                header.problems.append(f"a second content type, {value!r}")
            else:
                header.content_type = f"<|constrain|>{value}"
        words += found[1:]
    _read_words(header, words)
    return header


def read_cut_header(
    tokens: Sequence[int], tokenizer: Tokenizer, *, role: Role | None
) -> Header:
    """Parse a header without ``<|message|>``: the text after it is content.

    Args:
        tokens: Any ids. No error is raised.
        tokenizer: The model's vocabulary.
        role: As in ``read_header``.
    """
    header = Header(role=role or "assistant")
    at = tokens.index(CHANNEL) if CHANNEL in tokens else len(tokens)
    text = tokenizer.decode(tokens[:at])
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    if word == role or (role is None and word in ROLES):
        header.role = next(known for known in ROLES if known == word)
        text = text.lstrip().removeprefix(word)
    header.rest = text
    _cut_recipient(header)
    if at < len(tokens):
        # Words before the channel do not belong in a header, nor in an answer.
        if header.rest.strip():
            header.problems.append(f"unexpected words in the header: {header.rest!r}")
        header.rest = tokenizer.decode(tokens[at + 1 :])
        for channel in CHANNELS:
            if header.rest.lstrip().startswith(channel):
                header.channel = channel
                header.rest = header.rest.lstrip().removeprefix(channel)
                break
        _cut_recipient(header)
    if match := CUT_TYPE.match(header.rest):
        header.content_type = "".join(match[1].split())
        header.rest = header.rest[match.end() :]
    elif header.recipient and (match := CUT_BARE_TYPE.match(header.rest)):
        header.content_type = match[1]
        header.rest = header.rest[match.end() :]
    return header


def _cut_recipient(header: Header) -> None:
    if match := CUT_RECIPIENT.match(header.rest):
        header.recipient = header.recipient or match[1]
        header.rest = header.rest[match.end() :]


def _sections(
    tokens: Sequence[int], tokenizer: Tokenizer, header: Header
) -> list[tuple[int | None, str]]:
    """Split at ``<|channel|>`` and ``<|constrain|>``, each with the text after it."""
    sections: list[tuple[int | None, list[int]]] = [(None, [])]
    for token in tokens:
        if token in (CHANNEL, CONSTRAIN):
            sections.append((token, []))
        else:
            if tokenizer.is_special(token):
                shown = tokenizer.decode([token])
                if (problem := f"{shown} in the header") not in header.problems:
                    header.problems.append(problem)
            sections[-1][1].append(token)
    return [(special, tokenizer.decode(text)) for special, text in sections]


def _read_role(
    header: Header,
    words: list[str],
    role: Role | None,
    *,
    has_channel: bool,
    by_tool: bool,
) -> list[str]:
    """Parse the role; return the words after it."""
    if role is not None:
        header.role = role
        return words[1:] if words[:1] == [role] else words
    if not words or words[0].startswith("to="):
        header.problems.append("no role")
        return words
    word = words[0]
    before, colon, name = word.partition(":")
    for known in ROLES:
        if known != "tool" and before == known:
            header.role = known
            header.name = name if colon else None
            return words[1:]
    if word in CHANNELS and not has_channel:
        header.channel = word
        header.problems.append("a channel in place of the role")
        return words[1:]
    if not by_tool and word != "tool" and not CALLABLE.fullmatch(word):
        meant = _meant_role(word) or ("assistant" if has_channel else None)
        if meant is not None:
            header.role = meant
            header.problems.append(f"{word!r} in place of the role")
            return words[1:]
    header.role, header.name = "tool", word
    return words[1:]


def _meant_role(word: str) -> Role | None:
    """Return the role that a word resembles: "User", "assistant.", "assistantassistant"."""
    letters = "".join(filter(str.isalpha, word.casefold()))
    if "assistant" in letters:
        return "assistant"
    # A long word resembles no role, and comparing it would take long.
    if len(letters) < 20 and get_close_matches(letters, ["assistant"], cutoff=0.8):
        return "assistant"
    return next((known for known in ROLES if known == letters != "tool"), None)


def _channel(word: str, header: Header) -> str | None:
    if not word:
        header.problems.append("<|channel|> without a channel")
        return header.channel
    for known in CHANNELS:
        after = word.removeprefix(known)
        # "commentary??" is commentary; "finale" would be a channel of its own.
        if after != word and after and not after[0].isalnum():
            header.problems.append(f"{word!r} in place of the channel")
            return known
    return word


def _read_words(header: Header, words: list[str]) -> None:
    """Parse the recipient, and a channel or a type without its special token."""
    others: list[str] = []
    following = iter(words)
    for word in following:
        if not word.startswith("to="):
            others.append(word)
            continue
        recipient = word.removeprefix("to=")
        if not recipient:
            header.problems.append('a space after "to="')
            recipient = next(following, "")
        if header.recipient is not None:
            header.problems.append(f"a second recipient, {recipient!r}")
        elif recipient:
            header.recipient = recipient
    for word in others:
        if header.recipient is None and CALLABLE.fullmatch(word):
            header.recipient = word
            others.remove(word)
            header.problems.append('a recipient without "to="')
            break
    bare = next((word for word in others if word in CHANNELS), None)
    if header.channel is None and bare is not None:
        # Otherwise raw reasoning would be an answer with content type "analysis".
        header.channel = bare
        others.remove(bare)
        header.problems.append("a channel without <|channel|>")
    if others and header.content_type is None:
        header.content_type = others.pop()
    if others:
        header.problems.append(f"unexpected words in the header: {' '.join(others)!r}")


def _words(text: str) -> list[str]:
    return [word for word in WHITESPACE.split(text) if word]
