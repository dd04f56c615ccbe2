"""How fast chapter 3's skies are simulated and reduced to summary statistics."""

import time

from skytutor.chapters.cmb.summaries import BATCH, summary_statistics
from skytutor.data.cmb import GaussianSkySimulator

MAPS = 100_000


def report() -> None:
    """Print the seconds that simulating the maps takes, and those that reducing them takes."""
    simulator = GaussianSkySimulator("T2")
    statistics = summary_statistics(simulator)
    statistics(simulator.sample(100, seed=1)[1])  # tables are made before the clock starts
    began = time.perf_counter()
    reducing = 0.0
    for k in range(0, MAPS, BATCH):
        _, maps = simulator.sample(BATCH, seed=2 + k)
        drawn = time.perf_counter()
        statistics(maps)
        reducing += time.perf_counter() - drawn
    drawing = time.perf_counter() - began - reducing
    print(
        f"{MAPS:,} maps of Q and U at nside 16: drawn in {drawing:.0f} s, "
        f"reduced to band powers in {reducing:.0f} s"
    )
