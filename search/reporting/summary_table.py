"""The table of summary.json in results/README.md, made from the models that write it.

python -m search.reporting.summary_table
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from search.reporting.summary import Summary


def summary_table() -> str:
    """A row for every key: where it stands, what it holds, what it means. Markdown."""
    schema = Summary.model_json_schema(mode="serialization")
    found = _rows(schema, schema, "", {})
    rows = [f"| `{key}` | {kind} | {text} |" for key, kind, text in found]
    return "\n".join(["| key | holds | meaning |", "|---|---|---|", *rows])


def _rows(
    part: Any, schema: Any, path: str, listed: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    """The rows of an object's properties, and of what they hold in turn.

    `listed`: kind of object -> where its keys stand already, so that they need not again.
    """
    for name, field in part["properties"].items():
        place, inner, kind = f"{path}{name}", _resolved(field, schema), _kind(field, schema)
        if inner.get("type") == "array" and "items" in inner:
            inner = _resolved(inner["items"], schema)
            place = f"{place}[]" if "properties" in inner else place
        elif "properties" not in inner and isinstance(inner.get("additionalProperties"), dict):
            inner = _resolved(inner["additionalProperties"], schema)
            place = f"{place}.<name>" if "properties" in inner else place
        text = " ".join((field.get("description") or inner.get("description") or "").split())
        first = listed.setdefault(inner["title"], place) if "properties" in inner else place
        yield place, kind, text if first == place else f"{text} Keys: as in `{first}`."
        if "properties" in inner and first == place:
            yield from _rows(inner, schema, f"{place}.", listed)


def _resolved(field: Any, schema: Any) -> Any:
    """What a field holds if it is not null."""
    for each in field.get("anyOf", [field]):
        if each.get("type") != "null":
            field = each
            break
    if "$ref" in field:
        return schema["$defs"][field["$ref"].rpartition("/")[2]]
    return field


def _kind(field: Any, schema: Any) -> str:
    """`number`, `list of text`, `object or null`."""
    if "anyOf" in field:
        kinds = dict.fromkeys(_kind(each, schema) for each in field["anyOf"])
        if {"integer", "number"} <= kinds.keys():
            del kinds["integer"]
        return " or ".join(kinds)
    inner = _resolved(field, schema)
    match inner.get("type"):
        case "array" if "prefixItems" in inner:
            return "pair of numbers"
        case "array":
            return f"list of {_plural(_kind(inner['items'], schema))}"
        case "object" if isinstance(inner.get("additionalProperties"), dict):
            if "properties" not in inner:
                return f"{_plural(_kind(inner['additionalProperties'], schema))} by name"
    return {"string": "text", None: "value"}.get(inner.get("type"), str(inner.get("type")))


def _plural(kind: str) -> str:
    first, _, rest = kind.partition(" ")
    return kind if first == "text" or first.endswith("s") else f"{first}s {rest}".strip()


if __name__ == "__main__":
    print(summary_table())
