"""The field's terms stand everywhere, and the search for the others finds each kind of fault."""

import re

import field_terms
import pytest
from field_table import EXCEPTIONS, STATE_KEYS, TERMS
from field_terms import Search, search_repository

PACKAGE = "skytutor/chapters/gan/networks.py"
TEST = "tests/chapters/gan/test_gan_networks.py"
CHAPTER = "book/chapters/02-spherical-dcgan.ipynb"
PAGE = "book/glossary.md"


@pytest.fixture(scope="module")
def repository():
    return search_repository()


def test_code_and_text_use_the_field_s_terms(repository):
    faults, _ = repository
    assert not faults, f"{len(faults)} faults\n" + "\n".join(map(str, faults))


def test_every_exception_is_needed_and_has_a_reason(repository):
    _, search = repository
    assert search.unused() == []
    for reason in (*EXCEPTIONS.values(), *STATE_KEYS.values()):
        assert len(reason.split()) >= 3, reason


def test_every_row_of_the_table_looks_somewhere_for_what_can_be_read():
    for term in TERMS:
        fields = [term.name, term.whole, term.public, term.rng, term.text, term.page]
        assert any(fields), term.word
        assert term.instead, term.word
        for pattern in (*fields, term.files):
            re.compile(pattern)


# --- the search itself: what is sound, and one fault of each kind ---


def found(path, source):
    search = Search(exceptions={}, state_keys={})
    return [f"{fault.place}: {fault.found}" for fault in search.python(path, source)]


SOUND = '''
"""Found the way there: most of the rest is known, and the length of a turn has its place."""

def train(discriminator, *, generator, factor=2.0):
    """Share the state; make sure that it is after the level."""
    found, rest, level = discriminator(generator), 2, factor
    half = found.half()  # a published position, close to the front of the room
    raise ValueError(f"the parts do not look known: {half}, {rest}, {level}")
'''


def test_ordinary_english_is_no_fault():
    assert found(PACKAGE, SOUND) == []


IDENTIFIERS = {
    "a name": ("judge = 1", "1: judge"),
    "a use": ("x = 1\ny = expert", "2: expert"),
    "an attribute": ("x.suspect", "1: suspect"),
    "a parameter": ("def _f(forger): ...", "1: forger"),
    "a keyword": ("f(pose=1)", "1: pose"),
    "a function": ("def _shipped_folder(): ...", "1: _shipped_folder"),
    "a part of a class": ("class _DigitGame: ...", "1: _DigitGame"),
    "a part in capitals": ("_GAME_STEPS = 3", "1: _GAME_STEPS"),
    "an import": ("from a import twin", "1: twin"),
    "a module": ("from a.game import b", "1: game"),
    "a whole word": ("told = 1", "1: told"),
    "the end of a word": ("copy_share = 1", "1: copy_share"),
    "a class": ("x = OwnRings(8)", "1: OwnRings"),
    "a key of scores": ("x['confident_share']", "1: confident_share"),
    "a name in quotes": ("getattr(x, 'twin')", "1: twin"),
    "a module of the first release": ("from skytutor.models.game import b", "1: game"),
    "another": ("from skytutor.recipes import gan_suspects", "1: gan_suspects"),
    "a generator": ("dice = torch.Generator().manual_seed(1)", "1: dice"),
    "an annotated generator": ("def _f(draw: torch.Generator): ...", "1: draw"),
}


@pytest.mark.parametrize("kind", IDENTIFIERS)
@pytest.mark.parametrize("path", [PACKAGE, TEST, "benchmarks/skies.py"])
def test_an_identifier_of_ours_is_found(kind, path):
    source, fault = IDENTIFIERS[kind]
    assert found(path, source) == [fault]


SIGNATURES = {
    "a parameter": ("def f(fresh): ...", "1: fresh"),
    "a keyword-only parameter": ("def f(*, held=1): ...", "1: held"),
    "a function": ("def front(): ...", "1: front"),
    "a method": ("class A:\n    def look(self): ...", "2: look"),
    "a constant": ("kinds = 3", "1: kinds"),
    "a field": ("class A:\n    half: int = 3", "2: half"),
    "an attribute": ("class A:\n    def _f(self):\n        self.raw = 3", "3: raw"),
    "a buffer": (
        "class A:\n    def _f(self):\n        self.register_buffer('raw', x)",
        "3: raw",
    ),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_an_ordinary_word_is_found_where_it_is_a_public_name(kind):
    source, fault = SIGNATURES[kind]
    assert found(PACKAGE, source) == [fault]
    assert found(TEST, source) == []
    private = source.replace("def f(", "def _f(").replace("class A", "class _A")
    assert private == source or found(PACKAGE, private) == []


def test_a_row_holds_in_its_files_only():
    assert found("skytutor/fields/covariance.py", "def f(places): ...") == ["1: places"]
    assert found(PACKAGE, "def f(places): ...") == []


# The left column of the table, word by word: an example of each, where it is looked for.
NAMES = """
judge judgement expert forger players game pace GameTask DigitGame SkyGame suspect cured calm
first_game rival twin closeness told ToldNorm Level grains Sky paint pose ripple turn_deg readings
Skies CERTAIN AT_ONCE Standardise LikelihoodBank sure share copy_share shipped standing publish
read_published OwnRings own_frame WrapConv SkyBlock factored keep_memory agreed _follow
"""
PUBLIC_NAMES = {
    PACKAGE: "turn heard spread fine after bend front ready look kinds fresh held stretch coarse "
    "known half raw",
    "skytutor/fields/covariance.py": "waves places times parts band_powers",
    "skytutor/sht/solvers.py": "found rest way there length close",
    "skytutor/sht/real.py": "count position degrees twice room sums factor",
}


@pytest.mark.parametrize("word", NAMES.split())
def test_each_word_is_found_as_a_name(word):
    assert found(PACKAGE, f"{word} = 1")


@pytest.mark.parametrize(
    ("path", "word"), [(path, word) for path in PUBLIC_NAMES for word in PUBLIC_NAMES[path].split()]
)
def test_each_ordinary_word_is_found_in_a_public_signature(path, word):
    assert found(path, f"def f({word}): ...")


@pytest.mark.parametrize("word", ["dice", "draw"])
def test_a_word_for_a_generator_is_found(word):
    assert found(TEST, f"{word} = torch.Generator()") == [f"1: {word}"]


def test_a_file_is_found_by_its_name_and_by_its_folder_s():
    search = Search()
    for path in ("skytutor/models/game.py", "skytutor/twin/a.py", "tests/test_gan_suspects.py"):
        (fault,) = search.file_name(path)
        assert fault.place == "its name"
    assert list(search.file_name(PACKAGE)) == []


TEXTS = {
    "a docstring": '"""What the judge\nsays."""',
    "a later line": '"""What\nthe expert says."""',
    "a comment": "x = 1  # how sure it is",
    "a message": 'raise ValueError("the game is over")',
    "a message with values": 'raise ValueError(f"the share of {x} is wrong")',
    "backticks": '"""Like `copy_share` of it."""',
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_of_the_package_is_read(kind):
    assert len(found(PACKAGE, TEXTS[kind])) == 1
    assert found(TEST, TEXTS[kind]) == []


def notebook(source, kind="code", alt=""):
    metadata = {"mystnb": {"image": {"alt": alt}}} if alt else {}
    return {"cells": [{"cell_type": kind, "metadata": metadata, "source": [source]}]}


CELLS = {
    "prose": (notebook("One.\n\nAn expert says so.", "markdown"), "cell 0, line 3: expert"),
    "inline code": (notebook("See `own_frame`.", "markdown"), "cell 0, line 1: `own_frame`"),
    "a label of one word": (notebook('ax.plot(x, label="expert")'), "cell 0, line 1: expert"),
    "a label with values": (notebook('print(f"{x} fresh skies")'), "cell 0, line 1: fresh skies"),
    "a comment": (notebook("x = 1\n# the twin"), "cell 0, line 2: twin"),
    "a name": (notebook("%pip install a\njudge = 1"), "cell 0, line 2: judge"),
    "an alt text": (notebook("x = 1", alt="A share of the sky"), "cell 0, alt text: share of"),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_of_a_notebook_is_read(kind):
    book, fault = CELLS[kind]
    faults = [f"{f.place}: {f.found}" for f in Search(exceptions={}).notebook(CHAPTER, book)]
    assert faults == [fault]


def test_a_page_is_read_and_a_fault_names_its_place_and_the_term():
    (fault,) = Search().page(PAGE, "# A\n\nThe shipped weights.")
    assert str(fault) == "book/glossary.md:3: shipped -> pretrained"


def test_the_three_meanings_of_band_power_are_told_apart():
    search = Search()
    assert list(search.page(PAGE, "The band powers of Planck in bins of fifteen degrees.")) == []
    assert len(list(search.page(PAGE, r"its band powers $\hat C_\ell$ say all"))) == 1
    assert found("skytutor/fields/covariance.py", "def band_powers(): ...") == ["1: band_powers"]
    assert found(PACKAGE, "def band_powers(): ...") == []


def test_an_exception_holds_for_its_file_and_its_text_alone():
    (path, picture), *_ = EXCEPTIONS
    assert list(Search().page(path, picture)) == []
    assert list(Search().page(PAGE, picture)) != []
    assert list(Search().page(path, "The expert again.")) != []


def test_a_key_of_the_pretrained_files_may_be_an_attribute_and_nothing_else():
    search = Search()
    assert list(search.python(PACKAGE, "x = self.judge(y)")) == []
    assert len(list(search.python(PACKAGE, "judge = 1"))) == 1
    assert list(search.python(PACKAGE, "# `judge` is the last layer")) == []
    assert len(list(search.python(PACKAGE, "# the judge is the last layer"))) == 1
    assert search.used == {"judge"}


def test_an_exception_that_nothing_needs_is_reported():
    search = Search(exceptions={(PAGE, "expert"): "no reason at all"}, state_keys={})
    assert len(search.unused()) == 1
    assert list(search.python(PAGE, "expert = 1")) == []
    assert search.unused() == []


def test_each_folder_is_searched(tmp_path):
    for folder in (*field_terms.CODE, "book/chapters"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("judge = 1\n")
    (tmp_path / "book/chapters/a.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["the judge"]}]}'
    )
    (tmp_path / "book/api").mkdir()
    pages = ("README.md", "CONTRIBUTING.md", "book/a.md", "book/api/a.rst")
    for page in pages:
        (tmp_path / page).write_text("the judge\n")
    (tmp_path / "benchmarks/twin.py").write_text("x = 1\n")
    faults, _ = search_repository(tmp_path)
    paths = [fault.path for fault in faults]
    code = [f"{folder}/a.py" for folder in field_terms.CODE]
    code.insert(3, "benchmarks/twin.py")
    assert paths == [*code, "book/chapters/a.ipynb", *pages]
