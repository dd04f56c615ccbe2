"""What the tests of the chapters share: the embedded digits in MNIST's place."""

import pytest

from skytutor.data import digits


@pytest.fixture
def asked(monkeypatch):
    """Put the embedded digits in MNIST's place, and list the parts that were asked for."""
    parts = []
    load = digits.load

    class Watched(digits.Digits):
        def part(self, name):
            parts.append(name)
            return super().part(name)

    def watched(source="auto"):
        found = load("embedded")
        return Watched(**{k: getattr(found, k) for k in found.__dataclass_fields__})

    monkeypatch.setattr(digits, "load", watched)
    return parts
