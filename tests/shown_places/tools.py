"""Tools, whose frames the model reads and the user may be shown."""

from __future__ import annotations

import json
from dataclasses import dataclass

from scripted import call

from gptoss_mlx import errors
from gptoss_mlx.harmony.messages import Message, ToolDescription
from gptoss_mlx.tools.browser.backend import SearchResult, results_page
from gptoss_mlx.tools.browser.documents import Document, Documents
from gptoss_mlx.tools.browser.page import Page
from gptoss_mlx.tools.browser.tool import Browser
from gptoss_mlx.tools.functions import Function, Functions
from shown_places.place import Shown, place


@dataclass
class OnePage:
    """A back end with one page, whatever is asked for."""

    page: Page

    def search(self, query: str, topn: int) -> Page:
        """Find what is there."""
        found = SearchResult(self.page.title, self.page.url, self.page.title)
        return results_page(query, [found])

    def fetch(self, url: str) -> Page:
        """Return it, or say that it is not there."""
        if url == "none":
            raise errors.ToolError("There is none.")
        return self.page


def browsed(browser: Browser, function: str, **arguments: object) -> str:
    """Call the browser; an error is its message."""
    text = json.dumps(arguments)
    try:
        message = Message("assistant", text, recipient=f"browser.{function}")
        return browser.process(message)
    except errors.ToolError as error:
        return str(error)


@place("a page's title and URL")
def _(shown: Shown) -> str:
    browser = Browser(OnePage(Page(shown.text, shown.text, "text")))
    opened = browsed(browser, "open", id="x")
    return opened + browsed(browser, "find", pattern="text")


@place("results of a search")
def _(shown: Shown) -> str:
    browser = Browser(OnePage(Page(shown.text, shown.text, "text")))
    return browsed(browser, "search", query="text")


@place("a document")
def _(shown: Shown) -> str:
    browser = Browser(Documents([Document(shown.text, "a", f"word {shown.text}")]))
    return browsed(browser, "search", query="word") + browsed(browser, "open", id="a")


@place("a wrong call of the browser")
def _(shown: Shown) -> str:
    browser = Browser(Documents([]))
    told = [
        browsed(browser, "open", id=shown.text),
        browsed(browser, "open", cursor=shown.text),
        browsed(browser, shown.text),
        browsed(browser, "open", **{shown.text: 1}),
    ]
    return "\n".join(told)


@place("what a function raises", one_line=False)
def _(shown: Shown) -> str:
    def run() -> None:
        raise RuntimeError(shown.text)

    functions = Functions([Function(ToolDescription("f", ""), run)])
    return functions.process(call("functions.f", "{}")[0])
