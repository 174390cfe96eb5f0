"""The ``browser`` tool in the form that gpt-oss was trained on.

The output equals that of gpt-oss 0.0.9's SimpleBrowserTool for the same pages, except for:

* Malformed calls. They are answered with their mistake (there: a JSON error, or a crash).
  ``null`` counts as absent and ``3.0`` as 3.
* ``topn``. It is used (there: always 20 results).
* ``num_lines``. It shows at most 8,192 tokens (there: any number).
* An old cursor. It names the page that was shown with it (there: the newest page of the
  same URL, which is empty for every search).
* A page's title and URL. They are one line each, without anything that looks like a link
  (there: unchanged).
* ``find`` in a page with a line break in a link's domain. Later lines keep their numbers.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/simple_browser/simple_browser_tool.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

from gptoss_mlx.controls import escaped
from gptoss_mlx.errors import GptOssError, ToolError
from gptoss_mlx.harmony.builtin_tools import BROWSER
from gptoss_mlx.harmony.messages import Message, ToolNamespace
from gptoss_mlx.tokenizer import Tokenizer, load_tokenizer
from gptoss_mlx.tools.browser.backend import VIEW_SOURCE, Backend
from gptoss_mlx.tools.browser.find import find_in_page
from gptoss_mlx.tools.browser.page import Page, SourceLine, in_a_line
from gptoss_mlx.tools.tool import Tool

__all__ = ["Browser", "View"]

VIEW_TOKENS = 1_024
MAX_RESULTS = 20
MAX_VIEW_TOKENS = 8_192
"""The most tokens that ``num_lines`` shows."""

MAX_SHOWN = 1_024
"""Characters of a URL or a message in the output."""

_NOT_QUOTED = ":/?#[]@!$&'()*+,;="  # characters with a meaning in a URL

READING_BACK = 4
"""Lines that are shown before a link's passage."""


@dataclass(frozen=True, slots=True)
class View:
    """The lines shown for a cursor.

    Attributes:
        page: The page.
        first: The first display line that was shown.
        end: The display line after the last one shown.
    """

    page: Page
    first: int
    end: int


class Browser(Tool):
    """Searches, opens and finds in the pages of a back end, for one conversation.

    It uses no network and no disk: only its back end may.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer | None = None,
        *,
        view_tokens: int = VIEW_TOKENS,
    ) -> None:
        """Start without any open page.

        Args:
            backend: The source of pages.
            tokenizer: Counts tokens. None: the package's own.
            view_tokens: Tokens of a page to show at a time.
        """
        self._backend = backend
        self._tokenizer = tokenizer or load_tokenizer()
        self._view_tokens = view_tokens
        self._views: list[View] = []

    @property
    def instruction(self) -> ToolNamespace:
        """The text that gpt-oss was trained on."""
        return BROWSER

    @property
    def views(self) -> Sequence[View]:
        """The pages shown so far, by cursor."""
        return tuple(self._views)

    def reset(self) -> None:
        """Close all pages: the next cursor is 0."""
        self._views.clear()

    def process(self, call: Message) -> str:
        """Run ``browser.search``, ``browser.open`` or ``browser.find``."""
        name = (call.recipient or "").rpartition(".")[2]
        functions: dict[str, Callable[[_Arguments], str]] = {
            "search": self._search,
            "open": self._open,
            "find": self._find,
        }
        if name not in functions:
            raise ToolError(
                f"There is no function {name!r}. There are: browser.search, browser.open, "
                "browser.find."
            )
        return functions[name](_Arguments(call, name))

    def _search(self, arguments: _Arguments) -> str:
        query = arguments.text("query")
        topn = arguments.number("topn", arguments.number("top_n", 10))
        try:
            page = self._backend.search(query, min(max(topn, 1), MAX_RESULTS))
        except GptOssError as error:
            raise ToolError(
                f"Error during search for `{in_a_line(query)}`: {_shortened(str(error))}"
            ) from error
        return self._show(page)

    def _open(self, arguments: _Arguments) -> str:
        id = arguments.link()
        cursor = arguments.number("cursor", -1)
        line = arguments.number("loc", -1)
        num_lines = arguments.number("num_lines", -1)
        view_source = arguments.switch("view_source")
        passage = None
        if isinstance(id, str):
            page = self._fetch(f"{VIEW_SOURCE}{id}" if view_source else id)
        else:
            page = self._page(cursor)
            url = page.url
            if id >= 0:
                if id >= len(page.links):
                    raise ToolError(f"Invalid link id `{id}`.")
                url = page.links[id]
                passage = page.passages[id] if page.passages else None
            if view_source:
                page, passage = self._known_or_fetched(f"{VIEW_SOURCE}{url}"), None
            elif id >= 0:
                page = self._known_or_fetched(url)
        if line < 0:
            if isinstance(passage, SourceLine):
                # The document may be shorter by now than when it was found.
                last = page.source_line(len(page.lines) - 1)
                passage = page.display_line(min(passage.number, last))
            line = passage or 0
            if line > READING_BACK:
                line -= READING_BACK
        return self._show(page, line, num_lines)

    def _find(self, arguments: _Arguments) -> str:
        pattern = arguments.text("pattern")
        page = self._page(arguments.number("cursor", -1))
        if page.is_results:
            raise ToolError("Cannot run `find` on search results page or find results page")
        return self._show(find_in_page(pattern, page))

    def _page(self, cursor: int) -> Page:
        """Return the page of a cursor; -1 is the last one."""
        if not self._views:
            raise ToolError("No pages to access!")
        try:
            return self._views[cursor].page
        except IndexError as error:
            raise ToolError(
                f"Cursor `{cursor}` is out of range. "
                f"Available cursor indices: [0 - {len(self._views) - 1}]."
            ) from error

    def _known_or_fetched(self, url: str) -> Page:
        for view in reversed(self._views):
            if view.page.url == url:
                return view.page
        return self._fetch(url)

    def _fetch(self, url: str) -> Page:
        try:
            return _in_a_frame(self._backend.fetch(url))
        except GptOssError as error:
            shown = _shortened(in_a_line(url))
            raise ToolError(
                f"Error fetching URL `{shown}`: {_shortened(str(error))}"
            ) from error

    def _show(self, page: Page, first: int = 0, num_lines: int = -1) -> str:
        """Add a page, and return its visible lines."""
        last = len(page.lines) - 1
        if first > last:
            raise ToolError(
                f"Invalid location parameter: `{first}`. Cannot exceed page maximum of "
                f"{last}."
            )
        tokens = self._view_tokens
        end = last + 1
        if num_lines > 0:
            tokens = MAX_VIEW_TOKENS
            end = min(end, first + num_lines)
        end = first + self._fitting(page.lines, first, end, tokens)
        cursor = len(self._views)
        self._views.append(View(page, first, end))
        where = f" ({_shortened(unquote(page.url))})" if page.url else ""
        return (
            f"[{cursor}] {page.title}{where}\n**viewing lines [{first} - {end - 1}] of "
            f"{last}**\n\n" + "\n".join(_numbered(page.lines, first, end))
        )

    def _fitting(self, lines: Sequence[str], first: int, end: int, tokens: int) -> int:
        """Count the lines that fit, including the line in which the tokens run out."""
        # Each line has at least one token, so later lines need no look.
        text = "\n".join(_numbered(lines, first, min(end, first + tokens + 1)))
        if len(text) <= tokens:
            return end - first
        ids = self._tokenizer.encode(text)
        if len(ids) <= tokens:
            return end - first
        # A token that is part of a character counts as SimpleBrowserTool counts it.
        shown = sum(
            len(self._tokenizer.token_bytes(id).decode(errors="replace"))
            for id in ids[:tokens]
        )
        return min(text[:shown].count("\n") + 1, end - first)


def _in_a_frame(page: Page) -> Page:
    """Make a page's title and URL one line each, without anything like a link."""
    title, url = in_a_line(page.title), unquote(page.url)
    if in_a_line(url) == url:
        return page if title == page.title else replace(page, title=title)
    return replace(page, title=title, url=quote(in_a_line(url), safe=_NOT_QUOTED))


class _Arguments:
    """The arguments of a call, checked when they are read."""

    def __init__(self, call: Message, function: str) -> None:
        """Read the call's JSON.

        Raises:
            ToolError: It is not a JSON object, or names an unknown argument.
        """
        self._function = function
        text = call.text
        try:
            arguments = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ToolError(f"The arguments must be JSON: {error}.") from error
        if not isinstance(arguments, dict):
            raise ToolError(
                f"The arguments must be a JSON object but are {_type(arguments)}."
            )
        known = _argument_names(function)
        for name in arguments:
            # Models also write it this way, and SimpleBrowserTool accepts it.
            if name not in known and (function, name) != ("search", "top_n"):
                raise ToolError(
                    f"There is no argument {_shortened(name, 40)!r}. The arguments of "
                    f"browser.{function} are: {', '.join(known)}."
                )
        self._values: Mapping[str, Any] = {
            name: value for name, value in arguments.items() if value is not None
        }

    def text(self, name: str) -> str:
        """Return a required argument. A number counts as its digits."""
        if name not in self._values:
            raise ToolError(
                f"browser.{self._function} requires `{name}`, which is missing."
            )
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ToolError(f"`{name}` should be a string, not {_type(value)}.")
        return _whole_characters(str(value))

    def number(self, name: str, default: int) -> int:
        """Return a whole number."""
        value = self._values.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ToolError(f"`{name}` should be a whole number, not {_type(value)}.")
        return value

    def link(self) -> int | str:
        """Return ``id``: a link's id, or a URL."""
        value = self._values.get("id", -1)
        return _whole_characters(value) if isinstance(value, str) else self.number("id", -1)

    def switch(self, name: str) -> bool:
        """Return a boolean; absent is false."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise ToolError(f"`{name}` should be true or false, not {_type(value)}.")
        return value


def _argument_names(function: str) -> list[str]:
    described = next(tool for tool in BROWSER.tools if tool.name == function)
    return list((described.parameters or {})["properties"])


def _type(value: object) -> str:
    """Describe a JSON value, with JSON's terms."""
    if isinstance(value, str):
        return (
            f"the string {escaped(json.dumps(_shortened(value, 40), ensure_ascii=False))}"
        )
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"the number {_shortened(str(value), 40)}"
    return "null" if value is None else "a list" if isinstance(value, list) else "an object"


def _numbered(lines: Sequence[str], first: int, end: int) -> list[str]:
    return [f"L{line}: {lines[line]}" for line in range(first, end)]


def _shortened(text: str, length: int = MAX_SHOWN) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _whole_characters(text: str) -> str:
    """Replace lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
