"""For the notebook: `view` turns a sphere, `figure` draws it, `CurveSliders` changes a curve.

`ImageSwipe` lays two images over each other.
"""

from skytutor.widgets.sliders import CurveSliders
from skytutor.widgets.sphere import figure, view
from skytutor.widgets.swipe import ImageSwipe

__all__ = ["CurveSliders", "ImageSwipe", "figure", "view"]
