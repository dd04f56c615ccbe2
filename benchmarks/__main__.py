"""Run the benchmarks and print their tables.

python -m benchmarks [--only pixel|sht|skies|galaxies|widget] [--quick] [--save] [--keep-freed]
"""

import argparse
import platform
from datetime import date

import torch

from benchmarks import galaxies, pixel, sht, skies, widget


def main() -> None:
    """Read the command line and make the tables it asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Our layers and transforms against their peers, and the sphere in a browser.",
    )
    parser.add_argument(
        "--only",
        choices=["pixel", "sht", "skies", "galaxies", "widget"],
        help="make this table alone",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the transforms alone, at nside 16 and 64"
    )
    parser.add_argument(
        "--save", action="store_true", help="keep the transforms' table for the book"
    )
    parser.add_argument(
        "--keep-freed",
        action="store_true",
        help="time the transforms with freed memory kept, as in training",
    )
    options = parser.parse_args()
    only = "sht" if options.quick else options.only
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = platform.processor() or platform.machine()
    print(f"{date.today()}, {name}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    if only in (None, "pixel"):
        pixel.report(device)
        print()
    if only in (None, "sht"):
        sht.report(quick=options.quick, save=options.save, keep=options.keep_freed)
        print()
    if only in (None, "skies"):
        skies.report()
        print()
    if only in (None, "galaxies"):
        galaxies.report()
        print()
    if only in (None, "widget"):
        widget.report()


if __name__ == "__main__":
    main()
