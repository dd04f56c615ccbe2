"""Exercises of the page "Waves on the sphere"."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {
        "SimulatedAlms": "simulations",
        "Sticks": "polarisation",
        "alias": "pixels",
        "audit": "simulations",
        "divisor": "pixels",
        "noise_level": "spectra",
        "power_factor": "spectra",
        "quarter_turn": "spectra",
        "relative_scatter": "spectra",
        "stick_patterns": "polarisation",
        "sticks": "polarisation",
    },
)
