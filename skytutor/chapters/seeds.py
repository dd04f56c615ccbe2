"""Which seeds draw what in every chapter, so that train, validation and test never meet.

What is drawn step by step in training comes from `skytutor.training.run.seeded_generator`: hashes
of seed and step, numbers of 63 bits that meet the small seeds below only by a chance of 1e-12.
"""

from dataclasses import dataclass

__all__ = [
    "BANDS",
    "CMB",
    "DIGITS",
    "GAN_DIGITS",
    "GAN_SKIES",
    "INPAINTING",
    "SPECTRA",
    "Seeds",
]

# Stands for a test seed that already drew the validation set.
_SPARE = 2**62


@dataclass(frozen=True)
class Seeds:
    """The seeds of torch's generators in one study.

    Attributes:
        validation: of what chooses the best weights.
        test: seed N of ``skytutor evaluate --seed N`` is the N-th of these.
        train: of training sets that are drawn once and kept.
    """

    validation: range
    test: range
    train: range = range(0)

    def test_seed(self, seed: int) -> int:
        """Return the seed of the generator that draws test N.

        Arguments:
            seed: N. A number that drew the validation set is replaced by one far from all others.

        Raises:
            ValueError: N is not in the range of test seeds.
        """
        if not 0 <= seed < len(self.test):
            raise ValueError(
                f"seed must lie in 0..{len(self.test) - 1}, got {seed}: the others are kept for "
                "training and validation"
            )
        drawn = self.test[seed]
        return _SPARE if drawn in self.validation else drawn


# Rotations of digits.
DIGITS = Seeds(validation=range(4, 5), test=range(2**61))
# Latents of generated digits.
GAN_DIGITS = Seeds(validation=range(2, 3), test=range(2**61))
# Latents, and true skies with the seed after; 4 re-measures batch statistics.
GAN_SKIES = Seeds(validation=range(2, 5), test=range(1_000_000, 2**61))
# Skies. A batch of skies uses one seed and the next batch the next; simulators are 1,000 apart.
CMB = Seeds(
    validation=range(1_900_000, 2_000_000),
    test=range(1_000_000),
    train=range(2_000_000, 3_000_000),
)
# Skies and masks: one seed draws a set. Training draws from the hashes above.
INPAINTING = Seeds(validation=range(1_000_000, 1_001_000), test=range(1_000_000))
# Galaxies: one seed draws a set.
SPECTRA = Seeds(
    validation=range(1_900_000, 2_000_000),
    test=range(1_000_000),
    train=range(2_000_000, 3_000_000),
)
# Scenes: one seed draws a set and its noise. The noise of training draws from the hashes above.
BANDS = Seeds(
    validation=range(1_900_000, 2_000_000),
    test=range(1_000_000),
    train=range(2_000_000, 3_000_000),
)
