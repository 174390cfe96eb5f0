"""gpt-oss's own browser tool, with the pages of our cases as its back end.

Needs gpt-oss and the packages of its browser:
``pip install aiohttp chz html2text lxml openai-harmony structlog tenacity tiktoken``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import structlog
from browser_cases import Case, Table
from gpt_oss.tools.simple_browser.backend import BackendError
from gpt_oss.tools.simple_browser.page_contents import Extract, PageContents
from gpt_oss.tools.simple_browser.simple_browser_tool import SimpleBrowserTool
from openai_harmony import Message, Role

from gptoss_mlx.errors import ToolError
from gptoss_mlx.tokenizer import released_ranks
from gptoss_mlx.tools.browser.page import Page

__all__ = ["reference_answers"]

RANKS_URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"


class _Table:
    """The pages of a case, as gpt-oss has them."""

    source = "web"

    def __init__(self, case: Case) -> None:
        self._table = Table(case)

    async def search(self, query: str, topn: int, session: object) -> Any:
        return _contents(self._table.search(query, topn))

    async def fetch(self, url: str, session: object) -> Any:
        try:
            return _contents(self._table.fetch(url))
        except ToolError as error:
            raise BackendError(str(error)) from error


def reference_answers(case: Case) -> list[str]:
    """What gpt-oss's browser answers to each call."""
    tool = SimpleBrowserTool(_Table(case), view_tokens=case.view_tokens)
    return asyncio.run(_answers(case, tool))


def _make_ranks_available() -> None:
    """Put the vocabulary where tiktoken looks before it downloads anything."""
    folder = Path(tempfile.mkdtemp())
    name = hashlib.sha1(RANKS_URL.encode(), usedforsecurity=False).hexdigest()
    (folder / name).write_bytes(released_ranks())
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


_make_ranks_available()
# It logs every page that is not there, which is what some cases are about.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


async def _answers(case: Case, tool: Any) -> list[str]:
    texts = []
    for name, arguments in case.calls:
        call = Message.from_role_and_content(Role.ASSISTANT, json.dumps(arguments))
        async for answer in tool.process(call.with_recipient(f"browser.{name}")):
            texts.append(answer.content[0].text)
    return texts


def _contents(page: Page) -> Any:
    return PageContents(
        url=page.url,
        text=page.text,
        title=page.title,
        urls={str(id): url for id, url in enumerate(page.links)},
        snippets=None
        if page.passages is None
        else {
            str(id): Extract(url=page.links[id], text="", title="", line_idx=line)
            for id, line in enumerate(page.passages)
        },
    )
