"""skytutor.chapters.registry: the names of all recipes, known before a chapter is imported."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from skytutor import chapters

ROOT = Path(__file__).parents[2]
FOLDERS = list(dict.fromkeys(entry.folder for entry in chapters.ENTRIES.values()))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_chapter_has_the_recipes_that_the_registry_names_in_that_order(folder):
    recipes = importlib.import_module(f"skytutor.chapters.{folder}.recipes").RECIPES
    named = [name for name, entry in chapters.ENTRIES.items() if entry.folder == folder]
    assert [recipe.name for recipe in recipes] == named
    assert (
        len({entry.chapter for entry in chapters.ENTRIES.values() if entry.folder == folder}) == 1
    )


def test_every_folder_with_recipes_is_in_the_registry():
    there = {path.parent.name for path in ROOT.glob("skytutor/chapters/*/recipes.py")}
    assert there == set(FOLDERS)


@pytest.mark.parametrize("name", chapters.ENTRIES)
def test_a_name_gives_the_recipe_of_that_name(name):
    recipe = chapters.get(name)
    assert recipe.name == name
    assert chapters.RECIPES[name] is recipe
    assert chapters.get(name) is recipe, "made once"


def test_an_unknown_recipe():
    with pytest.raises(ValueError) as caught:
        chapters.get("digits")
    assert "'digits'" in str(caught.value)
    assert all(name in str(caught.value) for name in chapters.RECIPES)


def test_recipes_is_a_mapping_like_any_other():
    assert list(chapters.RECIPES) == list(chapters.ENTRIES)
    assert len(chapters.RECIPES) == len(chapters.ENTRIES)
    assert "cmb-t3" in chapters.RECIPES
    assert "digits" not in chapters.RECIPES
    assert chapters.RECIPES.get("digits") is None
    with pytest.raises(KeyError, match="'digits'"):
        chapters.RECIPES["digits"]


NAMES_ALONE = """
import sys
from skytutor import chapters
def imported():
    parts = [name.split(".") for name in sys.modules if name.startswith("skytutor.chapters.")]
    return sorted({part[2] for part in parts if len(part) > 3})
print(len(list(chapters.RECIPES)), "cmb-t3" in chapters.RECIPES, chapters.ENTRIES["cmb-t3"].chapter)
print(imported())
chapters.RECIPES["cmb-t3"]
print(imported())
"""


def test_names_cost_no_chapter_and_a_recipe_costs_its_own():
    done = subprocess.run(
        [sys.executable, "-c", NAMES_ALONE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{len(chapters.ENTRIES)} True 3", "[]", "['cmb']"]
