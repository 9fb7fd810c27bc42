"""A class for each bundled recipe, so that systems are found by the recipes' names: ``named:hallo3``.

The names of recipes hold dots and dashes, those of classes don't: :func:`class_name` says which is which.
"""

from __future__ import annotations

import functools
import re

from interbench.systems.recipes.model import FOLDER
from interbench.systems.recipes.system import RecipeSystem


def class_name(recipe: str) -> str:
    """``omniavatar-1.3b`` → ``omniavatar_1_3b``."""
    return re.sub(r"[^a-z0-9]", "_", recipe)


@functools.cache
def _class(attribute: str) -> type[RecipeSystem]:
    from interbench.systems.recipes.model import load_recipe

    for path in FOLDER.glob("*.toml"):
        name = path.name.removesuffix(".toml")
        if class_name(name) == attribute:
            recipe = load_recipe(name)
            return type(
                attribute, (RecipeSystem,), {"recipe_name": name, "__doc__": recipe.title, "__module__": __name__}
            )
    raise AttributeError(attribute)


def __getattr__(attribute: str) -> type[RecipeSystem]:
    try:
        return _class(attribute)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}") from None
