"""The words that go, and the field's terms that stand instead: the table that `field_terms` reads.

A word of ours that is ordinary English elsewhere ("found", "level", "way") is looked for only where
it would be a name in a public signature, or as a phrase that can mean nothing else. `EXCEPTIONS`
and `STATE_KEYS` say, with a reason each, where a word of the table may stand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One row of the table; fields from the third on are regular expressions, or empty.

    Attributes:
        word: what the row is called.
        instead: the field's term.
        name: all identifiers: the whole identifier, or a part between underscores or capitals.
        whole: all identifiers, the whole of each.
        public: whole identifiers in public signatures of the package.
        rng: whole names that hold a random generator.
        text: docstrings, comments and messages of the package, and pages.
        page: pages only: notebooks with their labels and alt texts, Markdown, README.
        files: the paths in which the row holds; all if empty.
    """

    word: str
    instead: str
    name: str = ""
    whole: str = ""
    public: str = ""
    rng: str = ""
    text: str = ""
    page: str = ""
    files: str = ""


COVARIANCE = r"covariance"
TRANSFORMS = r"skytutor/(?:sht|healpix|fields)/"
SOLVERS = r"sht/(?:solvers|inverse)|fields/wiener"

TERMS = (
    # scores and the networks that are scored
    Term(
        "judge",
        "classifier; critic output, logits; evaluated model",
        name=r"judges?|judged|judging|judge?ments?",
        text=r"\bjudg(?:e[sd]?|ing|e?ments?)\b",
    ),
    Term("expert", "discriminator", name=r"experts?", text=r"\bexperts?\b"),
    Term("forger", "generator", name=r"forgers?", text=r"\bforgers?\b"),
    Term(
        "player",
        "network, generator, discriminator",
        name=r"players?",
        text=r"\bplayers?\b",
        files=r"^(?!.*widgets/)",  # there a player shows frames one after the other
    ),
    Term(
        "game",
        "adversarial training, AdversarialLoss, AdversarialTask",
        name=r"games?",
        text=r"\bgames?\b(?! theory)",
    ),
    Term(
        "turn",
        "network, step of a network",
        public=r"turns?|TURNS",
        files=r"gan|train|task",
        text=r"\b(?:generator|discriminator|network)'s turns?\b",
    ),
    Term("pace", "learning-rate factor", name=r"paces?", text=r"\bpaces?\b"),
    Term("suspect", "ablation", name=r"suspects?", text=r"\bsuspects?\b"),
    Term("heard", "run", public=r"heard"),
    Term("cured", "fixed", name=r"cured", text=r"\bcured\b"),
    Term("calm", "with R1", name=r"calm", text=r"\bcalm\b"),
    Term("first game", "unregularised", name=r"first_game"),
    Term("rival", "baseline", name=r"rivals?", text=r"\brivals?\b"),
    Term("twin", "planar counterpart", name=r"twins?", text=r"\btwins?\b"),
    Term("closeness", "negative Frechet distance", name=r"closeness", text=r"\bcloseness\b"),
    Term(
        "told",
        "conditioning (a vector); metadata, card (a dictionary)",
        whole=r"told|ToldNorm",
        text=r"\btold (?:vector|dict)|\b(?:is|are|was|were) told the class",
        files=r"^(?!tests/)|tests/chapters/",
    ),
    Term("grains", "noise maps", name=r"grains?", text=r"\bgrains\b"),
    Term("Level", "UpBlock", name=r"Level", files=r"gan"),
    Term("spread", "project", public=r"spread"),
    Term("fine, after", "to_fine, second norm", public=r"fine|after"),
    Term(
        "sure",
        "confident_fraction, CONFIDENCE",
        name=r"sure",
        text=r"(?<!make )(?<!makes )\bsure\b",
    ),
    Term(
        "share",
        "fraction; memorised_fraction",
        whole=r"shares?|\w+_shares?",
        text=r"\bshares? of\b|\b(?:copy|confident|class) shares?\b",
    ),
    Term("coarse", "degrade", public=r"coarse", files=r"gan|scores"),
    # the sphere and what is laid on it
    Term(
        "Sky, SkyBlock, OwnRings, WrapConv",
        "SphereProjection, SpectralBlock, PolarResample, CircularConv2d",
        name=r"Sky|SkyBlock|OwnRings|WrapConv|own_frame",
    ),
    Term("paint", "project", name=r"paint(?:s|ed)?", text=r"\bpainted on\b"),
    Term("pose", "rotation", name=r"pose[sd]?", text=r"\bposes?\b"),
    Term("bend, ripple", "affine, elastic", public=r"bend", name=r"ripples?"),
    Term("turn_deg", "in_plane_rotation_deg", name=r"turn_deg"),
    # simulated skies and what a network reads of them
    Term(
        "front",
        "summary statistics",
        public=r"front",
        text=r"\*front\*|\b(?:its|the network's(?: own)?|own) front\b",
    ),
    Term("readings", "summaries", name=r"readings", text=r"\breadings\b"),
    Term("ready, look", "precomputed, extract", public=r"ready|looks?"),
    Term("Skies", "GaussianSkySimulator", name=r"Skies"),
    Term("kinds", "simulators", public=r"kinds"),
    Term(
        "fresh",
        "resample",
        public=r"fresh",
        page=r"\b[Ff]resh (?:skies|maps|drawings|samples|or)\b|\bor fresh\b",
    ),
    Term("held", "n_validation", public=r"held"),
    Term("CERTAIN, AT_ONCE", "min_coverage_maps, batch", name=r"CERTAIN|AT_ONCE"),
    Term("Standardise", "RunningNorm", name=r"Standardise"),
    Term("stretch", "interval_scale", public=r"stretch"),
    Term("LikelihoodBank", "LikelihoodGrid", name=r"LikelihoodBank", text=r"\bbank of like"),
    # trained weights
    Term("shipped", "pretrained", name=r"shipped", whole=r"ships", text=r"\bshipped\b"),
    Term("standing", "pretrained_scores", name=r"standing"),
    Term("known", "load_limits", public=r"known"),
    Term("half", "float16", public=r"half"),
    Term(
        "publish, read_published",
        "save_checkpoint, load_checkpoint",
        name=r"publish|read_published",
    ),
    # the covariance of a masked sky
    Term("waves", "modes", public=r"waves", files=COVARIANCE),
    Term("places", "pixel orbits", public=r"places", files=COVARIANCE),
    Term("times", "multiplicity", public=r"times", files=COVARIANCE),
    Term("parts", "blocks", public=r"parts", files=COVARIANCE),
    Term("factored", "cholesky", name=r"factored"),
    # conjugate gradients
    Term(
        "found, rest, way, there, length, close",
        "x, residual, direction, A_direction, step, z",
        public=r"found|rest|way|there|length|close",
        files=SOLVERS,
    ),
    # packing of coefficients
    Term(
        "count, position, degrees, twice",
        "alm_size, alm_index, alm_lm, m_multiplicity",
        public=r"count|position|degrees|degree_of|twice",
        files=TRANSFORMS,
    ),
    Term(
        "room, sums",
        "max_bytes, backend",
        public=r"room|sums",
        files=TRANSFORMS,
    ),
    Term("factor", "ring_weights", public=r"factor", files=r"sht/(?:transforms|real|ducc|inverse)"),
    # random generators and the training loop
    Term("dice, draw", "rng", rng=r"dice|draws?"),
    Term("keep_memory", "tune_malloc", name=r"keep_memory"),
    Term("agreed", "stop_requested", name=r"agreed"),
    Term("_follow", "update_ema", name=r"_follow"),
    Term("raw", "module", public=r"raw"),
    # one word, three meanings: only the power in a band of degrees keeps it
    Term(
        "band power (of one degree; of C^-1 d)",
        "power C_l; quadratic estimator",
        whole=r"BandPowers|band_powers",
        files=r"covariance|cmb|^book/",
        text=r"\bband powers? (?:\(N, |\$\\hat C|of (?:one|a single) degree|of C\^-1)",
    ),
)

# Attributes of modules that are keys in the files of pretrained weights, whose bytes stay.
STATE_KEYS = {
    "judge": "last layer of the discriminators",
    "spread": "first layer of the generators",
    "fine": "convolution to the finest level in the generators",
    "after": "second normalisation of a block",
    "stretch": "scale of an interval in chapter 3's networks",
}

# (path, what is written there) -> why it may stand.
EXCEPTIONS = {
    (
        "book/chapters/02-spherical-dcgan.ipynb",
        "Picture a forger and an expert.",
    ): "the one paragraph that tells the picture, with the field's terms beside it",
}
