"""The built-in tools' texts that gpt-oss was trained on. Do not change them.

Source: https://github.com/openai/harmony/blob/main/src/chat.rs
"""

from __future__ import annotations

from typing import Any

from gptoss_mlx.harmony.messages import ToolDescription, ToolNamespace

__all__ = ["BROWSER", "PYTHON"]

_STRING = {"type": "string"}


def _number(default: int) -> dict[str, Any]:
    return {"type": "number", "default": default}


BROWSER = ToolNamespace(
    "browser",
    (
        ToolDescription(
            "search",
            "Searches for information related to `query` and displays `topn` results.",
            {
                "type": "object",
                "properties": {"query": _STRING, "topn": _number(10), "source": _STRING},
                "required": ["query"],
            },
        ),
        ToolDescription(
            "open",
            "Opens the link `id` from the page indicated by `cursor` starting at line "
            "number `loc`, showing `num_lines` lines.\n"
            "Valid link ids are displayed with the formatting: `【{id}†.*】`.\n"
            "If `cursor` is not provided, the most recent page is implied.\n"
            "If `id` is a string, it is treated as a fully qualified URL associated with "
            "`source`.\n"
            "If `loc` is not provided, the viewport will be positioned at the beginning of "
            "the document or centered on the most relevant passage, if available.\n"
            "Use this function without `id` to scroll to a new location of an opened page.",
            {
                "type": "object",
                "properties": {
                    "id": {"type": ["number", "string"], "default": -1},
                    "cursor": _number(-1),
                    "loc": _number(-1),
                    "num_lines": _number(-1),
                    "view_source": {"type": "boolean", "default": False},
                    "source": _STRING,
                },
            },
        ),
        ToolDescription(
            "find",
            "Finds exact matches of `pattern` in the current page, or the page given by "
            "`cursor`.",
            {
                "type": "object",
                "properties": {"pattern": _STRING, "cursor": _number(-1)},
                "required": ["pattern"],
            },
        ),
    ),
    "Tool for browsing.\n"
    "The `cursor` appears in brackets before each browsing display: `[{cursor}]`.\n"
    "Cite information from the tool using the following format:\n"
    "`【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or "
    "`【8†L3】`.\n"
    "Do not quote more than 10 words directly from the tool output.\n"
    "sources=web (default: web)",
)

PYTHON = ToolNamespace(
    "python",
    (),
    "Use this tool to execute Python code in your chain of thought. The code will not be "
    "shown to the user. This tool should be used for internal reasoning, but not for code "
    "that is intended to be visible to the user (e.g. when creating plots, tables, or "
    "files).\n\n"
    "When you send a message containing Python code to python, it will be executed in a "
    "stateful Jupyter notebook environment. python will respond with the output of the "
    "execution or time out after 120.0 seconds. The drive at '/mnt/data' can be used to "
    "save and persist user files. Internet access for this session is UNKNOWN. Depends on "
    "the cluster.",
)
