"""The ``browser`` tool: search, open and find, over pages that a back end has."""

from gptoss_mlx.tools.browser.backend import Backend, SearchResult, results_page
from gptoss_mlx.tools.browser.documents import Document, Documents
from gptoss_mlx.tools.browser.page import Page
from gptoss_mlx.tools.browser.tool import Browser, View

__all__ = [
    "Backend",
    "Browser",
    "Document",
    "Documents",
    "Page",
    "SearchResult",
    "View",
    "results_page",
]
