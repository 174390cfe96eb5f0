"""Styled text of a paragraph, a heading or a table cell."""

from __future__ import annotations

from rich.text import Text

from gptoss_mlx.chat.formulas import unicode_formula
from gptoss_mlx.chat.markdown_parser import parse_inline

__all__ = ["inline_text"]

_CODE = "bold cyan"
_STYLES = {"em": "italic", "strong": "bold", "s": "strike"}


def inline_text(markup: str, style: str = "") -> Text:
    """Convert inline Markdown to styled text.

    Args:
        markup: One paragraph; its line ends are kept.
        style: Style of the whole text.
    """
    text = Text(style=style)
    styles: list[str] = []
    links: list[int] = []
    for token in parse_inline(markup):
        kind = token.type.removesuffix("_open").removesuffix("_close")
        now = " ".join(styles)
        if kind in _STYLES and token.nesting > 0:
            styles.append(_STYLES[kind])
        elif kind in _STYLES:
            styles.pop()
        elif kind == "link" and token.nesting > 0:
            links.append(len(text))
        elif kind == "link":
            target = token.content
            # An address that is its own text is not repeated.
            if target and text.plain[links.pop() :] not in (target, target.strip("<>")):
                text.append(f" ({target})", now)
        elif kind in ("softbreak", "hardbreak"):
            text.append("\n")
        elif kind == "code_inline":
            text.append(token.content, f"{now} {_CODE}")
        elif kind == "formula":
            text.append(unicode_formula(token.content) or token.info, now)
        else:
            text.append(token.content, now)
    return text
