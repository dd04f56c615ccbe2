"""skytutor.metrics against scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score
from sklearn.metrics import confusion_matrix as by_scikit_learn

from skytutor.metrics import classification

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@given(pairs)
def test_accuracy_and_confusion(drawn):
    predicted, labels = (torch.tensor(v) for v in zip(*drawn, strict=True))
    assert classification.accuracy(predicted, labels) == pytest.approx(
        accuracy_score(labels, predicted), abs=1e-15
    )
    counts = classification.confusion_matrix(predicted, labels, classes=5)
    np.testing.assert_array_equal(
        counts.numpy(), by_scikit_learn(labels, predicted, labels=range(5))
    )
    most = max((labels == c).sum().item() for c in range(5))
    assert classification.constant_accuracy(labels) == pytest.approx(most / len(labels))


@given(
    st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.6827, 0.95, 0.99]),
)
def test_wilson_interval_equals_scipys(drawn, level):
    hits, n = drawn
    from scipy.stats import norm

    low, high = classification.wilson_interval(hits / n, n, z=norm.ppf(0.5 + level / 2))
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= hits / n + 1e-12 and hits / n - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: classification.accuracy(torch.arange(3), torch.arange(4)), "(4,)"),
        (lambda: classification.accuracy(torch.arange(0), torch.arange(0)), "empty"),
        (lambda: classification.wilson_interval(1.2, 10), "1.2"),
        (lambda: classification.wilson_interval(0.5, 0), "0"),
        (lambda: classification.wilson_interval(float("nan"), 9), "nan"),
        (
            lambda: classification.confusion_matrix(
                torch.tensor([5]), torch.tensor([0]), classes=5
            ),
            "predicted must lie in 0..4",
        ),
        (
            lambda: classification.confusion_matrix(
                torch.tensor([0]), torch.tensor([-1]), classes=5
            ),
            "labels must lie in 0..4",
        ),
        (
            lambda: classification.confusion_matrix(
                torch.tensor([0, 1]), torch.tensor([1]), classes=5
            ),
            "shape",
        ),
        (lambda: classification.constant_accuracy(torch.zeros(0, dtype=torch.int64)), "empty"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(ValueError) as caught:
        call()
    assert word in str(caught.value)
