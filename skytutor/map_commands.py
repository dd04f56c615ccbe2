"""The subcommands that take files of maps: `skytutor view` and `skytutor spectrum`.

Each has a function that describes its arguments and one that does its work.
"""

import argparse
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import skytutor

if TYPE_CHECKING:
    from torch import Tensor

    from skytutor.io import SkyMap

__all__ = ["describe_spectrum", "describe_view", "spectrum", "view"]

# Torch takes a second to import: each command imports what it needs, and `--help` nothing.

_LARGEST = 512  # nside of a page
_TEMPERATURE = ("TT",)
_POLARISED = ("TT", "EE", "BB", "TE")


def _path(text: str) -> Path:
    """Return the path of a file, whose name is not blank."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"the name of a file is needed, got {text!r}")
    return Path(text)


def _fields(text: str) -> list[int | str]:
    """Return fields, parted by commas, as numbers and names."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(
            f"numbers or names, parted by commas, are needed, got {text!r}"
        )
    return [int(part) if part.isdecimal() else part for part in parts]


def _degree(text: str) -> int:
    """Return a largest degree, a whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number is needed, got {text!r}")
    return int(text)


def _describe_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--field",
        type=_fields,
        default=[0],
        help="numbers, from 0, or names of the fields, parted by commas (default: 0)",
    )
    parser.add_argument("--unit", help="convert to K, mK or muK (default: the unit of the file)")
    parser.add_argument(
        "--mask", type=_path, help="file whose first field is 0 where the sky is not to be seen"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")


def describe_view(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `skytutor view`.

    Arguments:
        parser: of the subcommand.
    """
    parser.add_argument("maps", type=_path, nargs="+", metavar="MAP", help="HEALPix files")
    parser.add_argument(
        "-o",
        "--output",
        type=_path,
        default=Path("sky.html"),
        help="the page to write (default: sky.html)",
    )
    _describe_common(parser)
    parser.add_argument(
        "--cmap", default="planck", help="colours, of matplotlib or planck (default: planck)"
    )
    parser.add_argument("--title", default="", help="shown above the globe")


def describe_spectrum(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `skytutor spectrum`.

    Arguments:
        parser: of the subcommand.
    """
    parser.add_argument("map", type=_path, metavar="MAP", help="HEALPix file")
    parser.add_argument(
        "-o",
        "--output",
        type=_path,
        default=Path("cl.csv"),
        help="table (.csv) or plot (.png) to write (default: cl.csv)",
    )
    _describe_common(parser)
    parser.add_argument("--lmax", type=_degree, help="largest degree (default: 2 nside)")


def view(args: argparse.Namespace) -> None:
    """Write a page with maps on a globe and print its path.

    Arguments:
        args: of the subcommand.

    Raises:
        ValueError: maps that cannot be shown together, or bad files and arguments, named.
    """
    from skytutor.io._fits import MissingPackage
    from skytutor.io._together import printable, read_mask

    output = _output(args, (".html", ".htm"))
    try:
        from skytutor.widgets import view as show
    except ImportError as error:
        raise MissingPackage(
            f"a globe needs {error.name}, which is not installed: pip install "
            '"skytutor[maps] @ git+https://github.com/skytutor/skytutor"'
        ) from error
    nside, unit, coordinates, maps = _read_to_show(args)
    mask = None
    if args.mask is not None:
        mask = read_mask(args.mask, nside=nside, coordinates=coordinates) > 0
    alone = len(maps) == 1
    globe = show(
        next(iter(maps.values())) if alone else maps,
        nside=nside,
        order="nested",
        unit="\N{MICRO SIGN}K" if unit == "muK" else unit,
        title=args.title or (next(iter(maps)) if alone else ""),
        mask=mask,
        cmap=args.cmap,
    )
    globe.save(output)
    print(printable(output))


def _read_to_show(args: argparse.Namespace) -> tuple[int, str, str, dict[str, "Tensor"]]:
    """Return nside, unit, coordinates and maps by title, NESTED, coarse enough for a page."""
    from skytutor.io._together import averaged, check_alike, printable, title

    maps: dict[str, Tensor] = {}
    nsides = []
    units: list[str] = []
    coordinates = set()
    for path in args.maps:
        sky = _read(path, args)
        values, nside = averaged(sky, nside=_LARGEST)
        if nside < sky.nside:
            said = f"nside {sky.nside}, averaged to nside {nside} over the pixels seen"
            print(f"{printable(path)}: {said}")
        nsides.append(nside)
        units += sky.units
        coordinates.add(sky.coordinates)
        for field, one in zip(sky.fields, values, strict=True):
            name = title(path, field, files=args.maps, fields=len(values))
            if name in maps:
                raise ValueError(f"maps must differ, got {name} twice")
            if bool(one.isnan().all()):
                raise ValueError(f"{path} has no pixel with a value in {field}")
            maps[name] = one
    check_alike("nside", nsides)
    check_alike("unit", units)
    # Many files do not say their coordinates: such a map may stand beside any other.
    coordinates.discard("")
    check_alike("coordinate system", coordinates)
    return nsides[0], units[0], next(iter(coordinates), ""), maps


def _read(path: Path, args: argparse.Namespace) -> "SkyMap":
    """Return the fields that were asked for, ``(F, P)``, NESTED."""
    from skytutor.io import read_map

    return read_map(path, field=args.field, unit=args.unit, order="nested")


def spectrum(args: argparse.Namespace) -> None:
    """Write the pseudo-spectrum of a map as a table or a plot and print its path.

    Arguments:
        args: of the subcommand.

    Raises:
        ValueError: bad files and arguments, named.
    """
    from skytutor.files import write_atomic
    from skytutor.io._together import check_alike, check_stokes, printable, read_mask

    output = _output(args, (".csv", ".png"))
    if len(args.field) not in (1, 3):
        raise ValueError(f"--field must be one field, or T, Q and U, got {len(args.field)} fields")
    sky = _read(args.map, args)
    check_alike("unit", sky.units)
    if len(sky.fields) == 3:
        check_stokes(sky.fields)
    lmax = _largest_degree(args.lmax, nside=sky.nside)
    weight = sky.mask.all(0).double()
    if args.mask is not None:
        mask = read_mask(args.mask, nside=sky.nside, coordinates=sky.coordinates)
        weight = weight * mask.double()
    if not bool(weight.any()):
        raise ValueError(f"{args.map} has no pixel with a value that the mask lets be seen")
    about = _header(args, sky, weight) | {"lmax": lmax}
    cl = _pseudo_spectra(sky.values.double(), weight, nside=sky.nside, lmax=lmax)
    data = _plot(cl, about) if output.suffix.lower() == ".png" else _table(cl, about)
    write_atomic(output, data)
    print(printable(output))


def _largest_degree(lmax: int | None, *, nside: int) -> int:
    """Return the largest degree to measure, one that the pixels can carry."""
    limit = 3 * nside - 1
    degree = 2 * nside if lmax is None else lmax
    if degree > limit:
        raise ValueError(f"--lmax must be at most {limit}, 3 nside - 1, got {degree}")
    return degree


def _header(args: argparse.Namespace, sky: "SkyMap", weight: "Tensor") -> dict[str, Any]:
    """Return what is to be said of a spectrum: of what it is, and what is not in it."""
    import torch

    unit = sky.unit
    return {
        "map": args.map.name,
        "fields": ", ".join(sky.fields),
        "unit": f"{unit}^2" if unit else "the square of the map's, which the file does not say",
        "nside": sky.nside,
        "mask": args.mask.name if args.mask else "none",
        "fsky": f"{float((weight > 0).double().mean()):.6g}, pixels seen of all",
        "divisor": f"{float(weight.square().mean()):.6g}, the mean of the squared mask",
        "not corrected": "beam, pixel window, noise, mixing of degrees and of E and B by the mask, "
        "monopole and dipole",
        "made by": f"skytutor {skytutor.__version__}, torch {torch.__version__}",
    }


def _pseudo_spectra(
    maps: "Tensor", weight: "Tensor", *, nside: int, lmax: int
) -> dict[str, "Tensor"]:
    """Return TT, or TT, EE, BB and TE, of masked maps over the mean of the squared mask."""
    import torch

    from skytutor.fields.spectra import alm2cl
    from skytutor.sht import map2alm

    seen = torch.where(weight > 0, maps, 0) * weight  # UNSEEN times 0 would be fine, NaN not
    options: dict[str, Any] = {"nside": nside, "lmax": lmax, "order": "nested"}
    alms = {"T": map2alm(seen[0], **options)}
    if len(seen) == 3:
        alms["E"], alms["B"] = map2alm(seen[1:], spin=2, **options)
    norm = weight.square().mean()
    names = _TEMPERATURE if len(seen) == 1 else _POLARISED
    return {name: alm2cl(alms[name[0]], alms[name[1]], lmax=lmax) / norm for name in names}


def _table(cl: dict[str, "Tensor"], about: dict[str, Any]) -> bytes:
    """Return spectra as lines of numbers parted by commas, below what is to be said of them."""
    lines = ["# Pseudo-spectrum C_l (not D_l) of a masked map, by ring weights, no iteration"]
    lines += [f"# {key}: {_one_line(value)}" for key, value in about.items()]
    lines.append(",".join(["l", *cl]))
    columns = [one.tolist() for one in cl.values()]
    for l, row in enumerate(zip(*columns, strict=True)):
        lines.append(",".join([str(l), *(f"{value:.9e}" for value in row)]))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _one_line(value: Any) -> str:
    """Return text without the line ends and the odd bytes that a name of a file may have."""
    from skytutor.io._together import printable

    return " ".join(printable(value).split())


def _plot(cl: dict[str, "Tensor"], about: dict[str, Any]) -> bytes:
    """Return a plot of D_l as PNG, one panel for each spectrum."""
    import math

    import torch
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plain = {"parse_math": False}
    drawn = Figure(figsize=(7, 1 + 2.6 * len(cl)), layout="constrained", dpi=120)
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(len(cl), 1, sharex=True, squeeze=False)[:, 0]
    l = torch.arange(about["lmax"] + 1).double()
    unit = about["unit"] if len(about["unit"]) < 20 else "unit of the map squared"
    for ax, (name, one) in zip(axes, cl.items(), strict=True):
        # D_l = l (l + 1) C_l / (2 pi); degrees below 2 hold the monopole and the dipole.
        ax.plot(l[2:], (l * (l + 1) * one / (2 * math.pi))[2:], linewidth=0.8)
        ax.set_ylabel(f"D_l {name} [{unit}]", **plain)
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("degree l")
    said = f"{_one_line(about['map'])}, mask {_one_line(about['mask'])}\npseudo-spectrum over "
    axes[0].set_title(said + about["divisor"], fontsize=9, **plain)
    stream = io.BytesIO()
    drawn.savefig(stream, format="png")
    return stream.getvalue()


def _output(args: argparse.Namespace, allowed: tuple[str, ...]) -> Path:
    """Return the file to write, if it can be written: refused before the work, not after it."""
    from skytutor.files import check_writable
    from skytutor.io.writing import check_new

    path: Path = args.output
    if path.suffix.lower() not in allowed:
        raise ValueError(f"--output must end in {' or '.join(allowed)}, got {str(path)!r}")
    check_new(path, overwrite=args.overwrite)
    # A new folder is made when there is something to put into it: bad input leaves nothing behind.
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    check_writable(folder)
    return path
