"""The table of the registry: every data file, where it is published, its size and its hash."""

from dataclasses import dataclass

__all__ = ["ENTRIES", "Entry"]


@dataclass(frozen=True)
class Entry:
    """Describe one file of the registry."""

    name: str  # path inside the data folder, with forward slashes
    url: str | None  # where a reader with a network gets it; None: it lies at no address
    sha256: str | None  # of the whole file, 64 hexadecimal digits; None: that of the first download
    size: int  # bytes; about as many where the hash is not known
    licence: str  # terms under which it is published
    credit: str  # whom to name
    group: str  # what is fetched together
    small: bool  # fetched by `make data`; a large one goes on where a broken download stopped
    instead: str = ""  # what to take where a file lies at no address


def _entries(
    group: str, base: str, terms: tuple[str, str], *rows: tuple[str, int, str]
) -> dict[str, Entry]:
    """Make the entries of a group of small files, by name.

    Arguments:
        group: its name.
        base: its folder, whose URL stands in `_BASES`.
        terms: licence and credit, the same for all of its files.
        rows: file name, size and SHA-256 of each.
    """
    licence, credit = terms
    made = {}
    for file, size, sha256 in rows:
        name = f"{base}/{file}"
        made[name] = Entry(
            name=name,
            url=_BASES[base] + file,
            sha256=sha256,
            size=size,
            licence=licence,
            credit=credit,
            group=group,
            small=True,
        )
    return made


def _large(group: str, url: str, *, size: int) -> dict[str, Entry]:
    """Make the entry of a large product of Planck's, of which we have never held the file.

    Its hash is recorded at the first download and checked from then on.

    Arguments:
        group: its name.
        url: below Planck's folder at IRSA.
        size: about how many bytes.
    """
    name = "planck/" + url.split("/")[-1]
    licence, credit = _PLANCK_TERMS
    entry = Entry(
        name=name,
        url=_IRSA + url,
        sha256=None,
        size=size,
        licence=licence,
        credit=credit,
        group=group,
        small=False,
    )
    return {name: entry}


# No licence file comes with MNIST or with Planck's products. MNIST: the terms that Keras and PyMVPA
# publish for LeCun and Cortes, who hold the copyright. Planck: ESA's page on the use of Planck data
# asks for this credit.
_MNIST_TERMS = (
    "CC BY-SA 3.0",
    "Y. LeCun, C. Cortes and C. J. C. Burges: the MNIST database of handwritten digits, "
    "made from NIST's",
)
_PLANCK_TERMS = (
    "public data of ESA, no licence named, credit asked for",
    "Based on observations obtained with Planck (http://www.esa.int/Planck), an ESA science "
    "mission with instruments and contributions directly funded by ESA Member States, NASA, and "
    "Canada",
)
_IRSA = "https://irsa.ipac.caltech.edu/data/Planck/"
_BASES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "planck": _IRSA + "release_3/ancillary-data/cosmoparams/",
}
_MAPS = "all-sky-maps/maps/component-maps/cmb/"
_SMICA_2013 = Entry(
    name="planck/smica_2013_nside512.fits",
    url=None,
    sha256="709316848c9cec1d780a72fa7080805f862dca942661463e329d9f378f247610",
    size=15736320,
    licence=_PLANCK_TERMS[0],
    credit=_PLANCK_TERMS[1],
    group="planck-smica-2013",
    small=False,
    instead="it was decoded from a published picture for this book and lies at no address; take "
    "the map of 2018, `skytutor data fetch planck-smica-2018` (about 2 GB)",
)
_THEORY = "COM_PowerSpect_CMB-base-plikHM-TTTEEE-lowl-lowE-lensing-minimum-theory_R3.01.txt"
_MEASURED = "COM_PowerSpect_CMB-TT-full_R3.01.txt"
ENTRIES: dict[str, Entry] = {
    **_entries(
        "mnist",
        "mnist",
        _MNIST_TERMS,
        (
            "train-images-idx3-ubyte.gz",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    **_entries(
        "planck-theory",
        "planck",
        _PLANCK_TERMS,
        (_THEORY, 205647, "50eecd4422e22026070bdacf9fa8a7e7ef3badf4fa50fffea040df669715cf51"),
    ),
    **_entries(
        "planck-measured",
        "planck",
        _PLANCK_TERMS,
        (_MEASURED, 170547, "ccf3113604020536f6f13ccf51680a7316ad0f32da558eee7f625e613bdd5522"),
    ),
    _SMICA_2013.name: _SMICA_2013,
    **_large(
        "planck-smica-2018",
        f"release_3/{_MAPS}COM_CMB_IQU-smica_2048_R3.00_full.fits",
        size=2_000_000_000,
    ),
    **_large(
        "planck-commander-2018",
        f"release_3/{_MAPS}COM_CMB_IQU-commander_2048_R3.00_full.fits",
        size=2_000_000_000,
    ),
    **_large(
        "planck-mask-2018",
        "release_3/ancillary-data/masks/COM_Mask_CMB-common-Mask-Int_2048_R3.00.fits",
        size=200_000_000,
    ),
}
