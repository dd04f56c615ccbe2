"""For the notebook: `view` turns a sphere, `figure` draws it, `CurveSliders` changes a curve."""

from skytutor.widgets.sliders import CurveSliders
from skytutor.widgets.sphere import figure, view

__all__ = ["CurveSliders", "figure", "view"]
