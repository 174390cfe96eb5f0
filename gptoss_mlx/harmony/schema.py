"""Renders JSON schemas as the TypeScript-like types that gpt-oss was trained on.

Oddities are the reference's: descriptions that come twice, arrays of unions
without parentheses, comments whose second line has no prefix.

Source: https://github.com/openai/harmony/blob/main/src/encoding.rs
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gptoss_mlx.harmony.normalize import ALWAYS, normalize

__all__ = ["typescript_type"]

MAX_DEPTH = 64
"""Schemas nested deeper become ``any``. The reference refuses them."""

_NAMES = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
}


def typescript_type(schema: Mapping[str, Any]) -> str:
    """Render the type of a tool's arguments, the text after ``_:``.

    Args:
        schema: JSON schema. Wrong or unknown parts become ``any``; no error is
            raised.
    """
    return _type(normalize(schema, MAX_DEPTH), "")


def _type(schema: object, indent: str) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(variants := schema.get("oneOf"), list):
        return "".join(f"\n{_variant(item, indent, None)}" for item in variants)
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [
            "number" if name == "integer" else name
            for name in kind
            if isinstance(name, str)
        ]
        return " | ".join(kinds) or "any"
    if kind == "object":
        return _object(schema, indent)
    if kind == "array":
        if "items" in schema:
            return f"{_type(schema['items'], indent)}[]"
        return "Array<any>"
    if kind == "string" and isinstance(choices := schema.get("enum"), list):
        texts = [f'"{choice}"' for choice in choices if isinstance(choice, str)]
        return " | ".join(texts) or "string"
    return _NAMES.get(kind, "any") if isinstance(kind, str) else "any"


def _object(schema: Mapping[str, Any], indent: str) -> str:
    lines = []
    description = _text(schema, "description")
    # Not an entry of `lines`: "{" follows without the indent.
    start = "" if description is None else f"{indent}// {description}\n"
    properties = schema.get("properties")
    required = schema.get("required")
    required = {
        name
        for name in (required if isinstance(required, list) else ())
        if isinstance(name, str)
    }
    if isinstance(properties, Mapping):
        for name, value in properties.items():
            mark = "" if name in required else "?"
            lines += _property(f"{name}{mark}:", value, indent)
    return "\n".join((f"{start}{{", *lines, f"{indent}}}"))


def _property(name: str, value: object, indent: str) -> list[str]:
    """Render a property: comments above it, then name, type and default."""
    schema = value if isinstance(value, Mapping) else {}
    lines = []
    if (title := _text(schema, "title")) is not None:
        lines += [f"{indent}// {title}", f"{indent}//"]
    description = _text(schema, "description")
    if description is not None and "oneOf" not in schema:
        lines.append(f"{indent}// {description}")
    if isinstance(examples := schema.get("examples"), list) and examples:
        lines.append(f"{indent}// Examples:")
        lines += [f'{indent}// - "{e}"' for e in examples if isinstance(e, str)]
    if isinstance(variants := schema.get("oneOf"), list):
        return lines + _one_of(name, schema, variants, indent)
    # The reference renders no default beside a oneOf that is not a list.
    default = _default(schema) if "oneOf" not in schema else None
    comment = "" if default is None else f" // {default}"
    kind = _nullable(schema, _type(schema, f"{indent}    "))
    return [*lines, f"{indent}{name} {kind},{comment}"]


def _one_of(
    name: str, schema: Mapping[str, Any], variants: list[object], indent: str
) -> list[str]:
    """Render a property that is one of several types, one per line."""
    lines = []
    description = _text(schema, "description")
    first = variants[0] if variants else None
    above = description is not None and description != _text(first, "description")
    if above:
        lines.append(f"{indent}// {description}")
    if (default := _default(schema)) is not None:
        lines.append(f"{indent}// {default}")
    lines.append(f"{indent}{name}")
    for i, variant in enumerate(variants):
        told = _text(variant, "description")
        if (i == 0 and above) or told == description:
            told = None
        lines.append(_variant(variant, indent, told, inside=True))
    return [*lines, f"{indent},"]


def _variant(
    variant: object, indent: str, told: str | None, *, inside: bool = False
) -> str:
    """Render one of several types, with its comments after it."""
    kind = _nullable(variant, _type(variant, f"{indent}   "))
    if inside:
        comments = [told, _default(variant)]
    else:
        comments = [_text(variant, "description"), _default(variant, quoted=True)]
    shown = " ".join(comment for comment in comments if comment is not None)
    some = any(comment is not None for comment in comments)
    return f"{indent} | {kind}" + (f" // {shown}" if some else "")


def _nullable(schema: object, kind: str) -> str:
    nullable = schema.get("nullable") if isinstance(schema, Mapping) else None
    # The reference searches the text for "null"; here the type is checked.
    if nullable is ALWAYS or (nullable is True and "null" not in kind):
        return f"{kind} | null"
    return kind


def _text(schema: object, key: str) -> str | None:
    value = schema.get(key) if isinstance(schema, Mapping) else None
    return value if isinstance(value, str) else None


def _default(schema: object, *, quoted: bool = False) -> str | None:
    if not isinstance(schema, Mapping) or "default" not in schema:
        return None
    default = schema["default"]
    has_enum = isinstance(enum := schema.get("enum"), list) and enum
    if not isinstance(default, str) or (has_enum and quoted):
        return f"default: {_json(default)}"
    return f"default: {default}" if has_enum else f'default: "{default}"'


def _json(value: object) -> str:
    """Write JSON as Rust's serde does: no spaces, and numbers in its form."""
    if isinstance(value, Mapping):
        items = (f"{_json(str(key))}:{_json(item)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        if -(2**63) <= value < 2**64:
            return str(value)
        value = float(value) if abs(value) < 2**1023 else math.inf
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "null"
    number = Decimal(repr(value)).normalize()
    text = "".join(map(str, number.as_tuple().digits))
    point = number.adjusted() + 1  # position of the decimal point among the digits
    if value == 0:
        shown = "0.0"
    elif 0 < point <= 16:
        text = text.ljust(point, "0")
        shown = f"{text[:point]}.{text[point:] or '0'}"
    elif -5 < point <= 0:
        shown = f"0.{'0' * -point}{text}"
    else:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        shown = f"{text[0]}{fraction}e{point - 1}"
    return f"-{shown}" if number.is_signed() else shown
