"""Say in one line how the test stages of `make` went: tests passed, failed and skipped, and why.

    python tests/summary.py _build/results --what "all tests" --stages unit build --ran unit build
    --status 0 --seconds 671

Each stage that runs pytest leaves a JUnit file of its name in the folder. The line only reports:
`make` knows the status.
"""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

# How pytest writes where a test was skipped, before the reason.
PLACE = re.compile(r"^\S+:\d+: ")


def outcomes(path: Path) -> tuple[Counter, Counter]:
    """Return how often each outcome stands in a JUnit file, and how often each reason to skip."""
    counts = Counter()
    reasons = Counter()
    for case in ElementTree.parse(path).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None:
            counts["failed"] += 1
        elif case.find("error") is not None:
            counts["errors"] += 1
        elif skipped is None:
            counts["passed"] += 1
        elif skipped.get("type") == "pytest.xfail":
            counts["failed as expected"] += 1
        else:
            counts["skipped"] += 1
            # Depending on how a test was skipped, the place stands in front of the reason or not.
            reason = PLACE.sub("", skipped.get("message") or "no reason given")
            reasons[" ".join(reason.split())] += 1
    return counts, reasons


def words(counts: Counter, reasons: Counter) -> str:
    """Return the counts as text, the commonest reason to skip first.

    Example:
        >>> reasons = Counter({"no CUDA device here": 2, "no Chromium": 1})
        >>> words(Counter(passed=7, skipped=3), reasons)
        '7 passed, 0 failed, 3 skipped (2: no CUDA device here; 1: no Chromium)'
    """
    shown = [f"{counts[kind]} {kind}" for kind in ("passed", "failed")]
    shown += [f"{counts[kind]} {kind}" for kind in ("errors", "failed as expected") if counts[kind]]
    why = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
    shown.append(f"{counts['skipped']} skipped" + (f" ({why})" if why else ""))
    return ", ".join(shown)


def line(
    folder: Path, what: str, stages: Sequence[str], ran: Sequence[str], status: int, seconds: int
) -> str:
    """Return the closing line.

    Arguments:
        folder: where the stages left their results.
        what: was tested, the first words of the line.
        stages: all of them, in their order.
        ran: those that were begun.
        status: of the last of them; it failed if this is not 0.
        seconds: that they took together.
    """
    counts = Counter()
    reasons = Counter()
    unread = []
    for stage in ran:
        path = folder / f"{stage}.xml"
        if not path.exists():  # a stage without pytest, or one that died before its end
            continue
        try:
            more_counts, more_reasons = outcomes(path)
        except ElementTree.ParseError:
            unread.append(path.name)
            continue
        counts += more_counts
        reasons += more_reasons
    head = f"{what} passed in {seconds} s"
    if status:
        head = f"{what}: stage {len(ran)} of {len(stages)} ({ran[-1]}) failed after {seconds} s"
    tail = f"; not read: {', '.join(unread)}" if unread else ""
    return f"== {head}: {words(counts, reasons)}{tail}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print the closing line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the stages left their results")
    parser.add_argument(
        "--what", required=True, help="what was tested, the first words of the line"
    )
    parser.add_argument("--stages", nargs="+", required=True, help="all stages, in their order")
    parser.add_argument("--ran", nargs="+", required=True, help="the stages that were begun")
    parser.add_argument("--status", type=int, required=True, help="exit status of the last of them")
    parser.add_argument("--seconds", type=int, required=True, help="how long they took together")
    given = parser.parse_args(arguments)
    print(line(given.folder, given.what, given.stages, given.ran, given.status, given.seconds))


if __name__ == "__main__":
    main()
