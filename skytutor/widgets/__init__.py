"""The sphere in the notebook: `view` to turn it, `figure` for paper."""

from skytutor.widgets.sphere import figure, view

__all__ = ["figure", "view"]
