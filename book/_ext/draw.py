"""Draw the book's logo, favicon and title picture from the 12 HEALPix base pixels.

Each picture is a globe seen from outside. A base pixel is the unit square in (x, y); `position`
carries it to the sphere (Gorski et al. 2005, section 5), `Globe` turns it to the eye and writes SVG
paths. The files are kept in git; a test draws them again and compares.

    python book/_ext/draw.py [FOLDER]     # default: book/_static
"""

import math
import sys
from pathlib import Path

STATIC = Path(__file__).resolve().parents[1] / "_static"
# Northern, equatorial and southern faces in three hues of like lightness; they stand on white and
# on near-black alike.
NORTH = "#3b8fd4"
EQUATOR = "#e08a2e"
SOUTH = "#4aa37a"
LINE = "#16324f"


def position(face: int, x: float, y: float) -> tuple[float, float, float]:
    """Return the unit vector of the point (x, y) in [0, 1]^2 of base pixel `face`.

    x grows to the north-east, y to the north-west.
    """
    # 0 at the north pole, 2 on the equator, 4 at the south pole
    down = (2, 3, 4)[face // 4] - x - y
    if 1 <= down <= 3:
        z = (2 - down) * 2 / 3
        width = 1.0
    else:
        width = down if down < 1 else 4 - down
        z = (1 - width**2 / 3) * (1 if down < 1 else -1)
    along = (2 * (face % 4) + (face // 4 != 1)) * width + x - y
    phi = math.pi / 4 * along / width if width > 1e-12 else 0.0
    s = math.sqrt(max(0.0, 1 - z * z))
    return s * math.cos(phi), s * math.sin(phi), z


class Globe:
    """One globe as SVG paths.

    Arguments:
        radius: in picture units.
        centre: in picture units.
        lon: longitude from which it is seen, degrees.
        lat: latitude from which it is seen, degrees.
    """

    def __init__(
        self, radius: float, centre: tuple[float, float], *, lon: float = 25, lat: float = 28
    ):
        self.radius = radius
        self.centre = centre
        self.lon = math.radians(lon)
        self.lat = math.radians(lat)

    def turn(self, vector):
        """Return coordinates as the eye sees them: right, up, towards the eye."""
        x, y, z = vector
        ahead = x * math.cos(self.lon) + y * math.sin(self.lon)
        right = y * math.cos(self.lon) - x * math.sin(self.lon)
        up = z * math.cos(self.lat) - ahead * math.sin(self.lat)
        return right, up, ahead * math.cos(self.lat) + z * math.sin(self.lat)

    def cell(self, face: int, corner: tuple[float, float], size: float, steps: int) -> str | None:
        """Return the path of one square cell of a face; None when it lies behind the globe."""
        x0, y0 = corner
        along = [k / steps * size for k in range(steps)]
        edge = [(x0 + t, y0) for t in along] + [(x0 + size, y0 + t) for t in along]
        edge += [(x0 + size - t, y0 + size) for t in along] + [(x0, y0 + size - t) for t in along]
        seen = [self.turn(position(face, x, y)) for x, y in edge]
        if all(depth <= 0 for *_, depth in seen):
            return None
        points = []
        for right, up, depth in seen:
            # What lies behind is pushed out to the rim, so a cell across the rim ends on it.
            scale = self.radius / (math.hypot(right, up) if depth < 0 else 1)
            points.append(f"{self.centre[0] + scale * right:.1f} {self.centre[1] - scale * up:.1f}")
        return "M" + "L".join(points) + "Z"

    def paths(self, nside: int, *, colour, line: float) -> list[str]:
        """Return all cells of a map of `nside`; `colour(face, x, y)` gives each its fill."""
        out = [f'<g stroke="{LINE}" stroke-width="{line}" stroke-linejoin="round">']
        steps = max(2, 12 // nside)
        for face in range(12):
            for y in range(nside):
                for x in range(nside):
                    path = self.cell(face, (x / nside, y / nside), 1 / nside, steps)
                    if path:
                        out.append(f'<path fill="{colour(face, x, y)}" d="{path}"/>')
        return [*out, "</g>"]


def by_row(face: int, x: int, y: int) -> str:
    """Return the fill of a cell: a hue for each row of base pixels, neighbours in two shades."""
    hue = (NORTH, EQUATOR, SOUTH)[face // 4]
    return shade(hue, 0.22 * ((face + x + y) % 2))


def shade(hue: str, white: float) -> str:
    """Return `hue` mixed with a fraction `white` of white."""
    parts = [int(hue[k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(p + (255 - p) * white):02x}" for p in parts)


def svg(width: int, height: int, title: str, body: list[str]) -> str:
    """Return a picture as the text of an SVG file; `title` is its alt text too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{title}">\n'
        f"<title>{title}</title>\n" + "\n".join(body) + "\n</svg>\n"
    )


def logo() -> str:
    """Draw the logo: a globe of nside 2."""
    return svg(240, 240, "Sky Tutor", Globe(116, (120, 120)).paths(2, colour=by_row, line=2.4))


def favicon() -> str:
    """Draw the favicon: a globe of nside 1."""
    return svg(64, 64, "Sky Tutor", Globe(31, (32, 32)).paths(1, colour=by_row, line=2))


def hierarchy() -> str:
    """Draw four globes, nside 1, 2, 4, 8: one base pixel is coloured, in it one pixel's family."""
    body = []
    for k, nside in enumerate((1, 2, 4, 8)):

        def colour(face, x, y, nside=nside):
            if face != 4:
                return shade(NORTH, 0.55 + 0.2 * ((face + x + y) % 2))
            if max(x, y) < max(1, nside // 2):
                return EQUATOR
            return shade(EQUATOR, 0.55)

        globe = Globe(104, (120 + 240 * k, 114), lon=8, lat=10)
        body += globe.paths(nside, colour=colour, line=max(0.7, 2.2 - 0.5 * k))
        style = 'text-anchor="middle" font-family="sans-serif" font-size="17" fill="#ffffff"'
        middle = 120 + 240 * k
        pill = 'width="168" height="30" rx="15"'
        body.append(f'<rect x="{middle - 84}" y="228" {pill} fill="{LINE}"/>')
        label = f"nside {nside}: {12 * nside**2} pixels"
        body.append(f'<text x="{middle}" y="249" {style}>{label}</text>')
    return svg(960, 264, "The sphere in 12, 48, 192 and 768 pixels of equal area", body)


PICTURES = {"logo.svg": logo, "favicon.svg": favicon, "hierarchy.svg": hierarchy}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else STATIC
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / name).write_text(draw())
        print(folder / name)
