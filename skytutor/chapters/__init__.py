"""The book's experiments, one folder each, and what they share: what a recipe is.

A recipe joins data, network, schedule and scores, so that the same two commands serve every
chapter: ``skytutor train RECIPE`` and ``skytutor evaluate RECIPE``.
"""

from skytutor import lazy

# What the package offers itself, and where it is.
NAMES = {
    "Recipe": "recipe",
    "Scores": "recipe",
    "card": "pretrained",
    "describe_cards": "pretrained",
    "evaluate": "pretrained",
    "load_pretrained": "pretrained",
    "network": "pretrained",
    "pretrained_scores": "pretrained",
    "InputRangeWarning": "prediction",
    "Prediction": "prediction",
    "predict": "prediction",
    "check_training": "train",
    "train_recipe": "train",
    "ENTRIES": "registry",
    "RECIPES": "registry",
    "get": "registry",
}

__getattr__, __dir__ = lazy.attach(__name__, __path__, NAMES)
