"""JSON Schema of a space file, for editors.

    python -m search.space.json_schema > spaces/schema.json

Made from the models that check a space, so that an editor and the search agree.
"""

from __future__ import annotations

import json
from typing import Any

from search.space.space import SPAN, Space
from supcon.config import Config


def space_schema() -> dict[str, Any]:
    """What a space file may hold, every setting of the training config by its dotted key."""
    space, config = Space.model_json_schema(), Config.model_json_schema()
    definitions = config.pop("$defs") | space.pop("$defs") | {"Config": config}
    settings = {}
    for section, field in Config.model_fields.items():
        for key, setting in definitions[_name(field.annotation)]["properties"].items():
            definitions[f"{section}.{key}"] = setting
            settings[f"{section}.{key}"] = {"$ref": f"#/$defs/{section}.{key}"}
    drawn = {"$ref": "#/$defs/Distribution"}
    properties = space["properties"]
    base = properties["base"]["description"]
    properties["base"] = {"$ref": "#/$defs/Config", "description": base}
    properties["params"] |= _mapping(dict.fromkeys(settings, drawn))
    either = {key: {"anyOf": [setting, drawn]} for key, setting in settings.items()}
    properties["arms"]["additionalProperties"] = _mapping(either)
    point = _mapping(settings | {"seed": {"type": "integer", "minimum": 0}})
    properties["points"]["additionalProperties"] = {"type": "array", "items": point}
    properties["scheduler"] = {"anyOf": [{"const": "none"}, {"$ref": "#/$defs/Scheduler"}]}
    properties["budget"] = {"$ref": "#/$defs/Budget"}
    time = definitions["Budget"]["properties"]["time"]
    time["anyOf"] = [*time["anyOf"], {"type": "string", "pattern": f"^{SPAN}$"}]
    space["required"].remove("name")  # by default the name of the file
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **space,
        "$defs": dict(sorted(definitions.items())),
    }


def _name(section: Any) -> str:
    return str(section.__name__)


def _mapping(properties: dict[str, Any]) -> dict[str, Any]:
    """A mapping that holds nothing else."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


if __name__ == "__main__":
    print(json.dumps(space_schema(), indent=1))
