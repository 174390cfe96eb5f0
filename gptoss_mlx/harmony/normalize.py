"""Rewrites schemas with the keywords that the reference renders, so that no type is lost.

The reference renders ``$ref``, ``anyOf`` and ``allOf`` as ``any``, and Pydantic and MCP
servers use these for every optional argument and nested model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["ALWAYS", "normalize"]

ALWAYS: Final = object()
"""Like ``nullable``: null belongs to the type, even if its text has "null" in it."""

MAX_REFERENCES = 1000
"""How many references are followed in one schema. Later ones become ``any``."""

SIMPLE = ("string", "number", "integer", "boolean", "null")


def normalize(schema: Mapping[str, Any], max_depth: int) -> dict[str, Any]:
    """Resolve references, and turn ``anyOf`` into type lists, ``nullable`` or ``oneOf``.

    Nothing else is changed. A reference that is unresolved or circular loses its type and
    keeps its other keys.

    Args:
        schema: A tool's parameters, for example. It is not changed.
        max_depth: Schemas nested deeper become ``{}``.
    """
    rewritten = _Normalizer(schema).rewrite(schema, max_depth, ())
    # At the top level `nullable` is not rendered.
    if rewritten.get("nullable") is ALWAYS:
        rewritten = _as_one_of(rewritten)
    return rewritten


class _Normalizer:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._references = MAX_REFERENCES

    def rewrite(
        self, schema: object, depth: int, within: tuple[str, ...]
    ) -> dict[str, Any]:
        """Rewrite a schema and those inside it.

        Args:
            schema: Any value in place of a schema. A value that is not an object becomes
                ``{}``, which the reference renders as ``any`` as well.
            depth: How many more levels may follow.
            within: References followed so far.
        """
        if not isinstance(schema, Mapping) or depth <= 0:
            return {}
        changed, within = self._resolve(dict(schema), within)
        if isinstance(changed.get("properties"), Mapping):
            changed["properties"] = {
                name: self.rewrite(value, depth - 1, within)
                for name, value in changed["properties"].items()
            }
        if "items" in changed:
            items = self.rewrite(changed["items"], depth - 1, within)
            if items.get("nullable") is ALWAYS:
                items = _as_one_of(items)
            changed["items"] = items
        for key in ("oneOf", "anyOf"):
            if isinstance(variants := changed.get(key), list):
                changed[key] = [self.rewrite(v, depth - 1, within) for v in variants]
        return _without_any_of(changed)

    def _resolve(
        self, schema: dict[str, Any], within: tuple[str, ...]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Follow references, and ``allOf`` of one schema, to the end."""
        while True:
            reference = schema.get("$ref")
            several = schema.get("allOf")
            if isinstance(reference, str):
                beside = {key: schema[key] for key in schema if key != "$ref"}
                target = self._find(reference)
                if target is None or reference in within or self._references <= 0:
                    return beside, within
                self._references -= 1
                within = (*within, reference)
                schema = {**target, **beside}
            elif (
                isinstance(several, list)
                and len(several) == 1
                and isinstance(several[0], Mapping)
                and "type" not in schema
            ):
                beside = {key: schema[key] for key in schema if key != "allOf"}
                schema = {**several[0], **beside}
            else:
                return schema, within

    def _find(self, reference: str) -> Mapping[str, Any] | None:
        """Return the target of a JSON pointer such as ``#/$defs/City``."""
        if not reference.startswith("#"):
            return None
        at: object = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(at, Mapping):
                at = at.get(step)
            elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
                at = at[int(step)]
            else:
                return None
        return at if isinstance(at, Mapping) else None


def _without_any_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace ``anyOf`` by keywords that are rendered, unless there is a type already."""
    variants = schema.get("anyOf")
    if "type" in schema or "oneOf" in schema or not variants:
        return schema
    if not isinstance(variants, list):
        return schema
    beside = {key: schema[key] for key in schema if key != "anyOf"}
    nothing = [v for v in variants if v.get("type") == "null"]
    some = [v for v in variants if v.get("type") != "null"]
    if len(some) == 1:
        only = {**some[0], **beside}
        if not nothing:
            return only
        if _is_simple(only):
            return {**only, "type": [only["type"], "null"]}
        if "oneOf" not in only and not isinstance(only.get("type"), list):
            return {**only, "nullable": ALWAYS}
        if isinstance(kinds := only.get("type"), list):
            return {**only, "type": [*kinds, *(["null"] if "null" not in kinds else [])]}
    if all(_is_simple(v) and not v.keys() & {"description", "default"} for v in variants):
        kinds = ["number" if v["type"] == "integer" else v["type"] for v in variants]
        return {**beside, "type": list(dict.fromkeys(kinds))}
    return {**beside, "oneOf": [_shown_null(v) for v in variants]}


def _is_simple(schema: Mapping[str, Any]) -> bool:
    """Whether a schema's type is one word."""
    return schema.get("type") in SIMPLE and not schema.get("enum")


def _shown_null(variant: dict[str, Any]) -> dict[str, Any]:
    # The reference renders the type "null" as any, and the list ["null"] as null.
    return {**variant, "type": ["null"]} if variant.get("type") == "null" else variant


def _as_one_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Add null as a variant, for schemas whose ``nullable`` is not rendered."""
    rest = {key: value for key, value in schema.items() if key != "nullable"}
    return {"oneOf": [rest, {"type": ["null"]}]}
