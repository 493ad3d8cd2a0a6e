"""Write src/extd/recipes/recipe.schema.json, from which editors complete and check recipes.

    python tools/recipe_schema.py

Editors with a YAML language server find it by the first line of each recipe.
"""

from __future__ import annotations

import json
from pathlib import Path

from extd.training.recipe import Recipe

TARGET = Path(__file__).resolve().parents[1] / "src" / "extd" / "recipes" / "recipe.schema.json"


def recipe_schema() -> str:
    schema = Recipe.model_json_schema()
    # A stage may change any key, and needs none.
    stage = {key: value for key, value in schema["properties"].items() if key != "stages"}
    schema["properties"]["stages"]["items"] = {"properties": stage, "additionalProperties": False}
    # The command line may give the data.
    schema["required"].remove("data")
    del schema["$defs"]["Data"]["required"]
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(recipe_schema(), encoding="utf-8")
