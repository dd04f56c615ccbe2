"""The commands that cards, pages and docstrings name exist, and `compute` makes what it says."""

import argparse
import importlib.util
import json
import re
import shlex
import signal
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from skytutor import chapters, cli
from skytutor.chapters.cmb import limits, limits_table
from skytutor.chapters.digits.task import DigitsTask
from skytutor.chapters.gan import ablations
from skytutor.chapters.gan.task import DigitGanTask
from skytutor.fields import best_fit, emulator
from skytutor.files import check_writable
from skytutor.training import checkpoint

ROOT = Path(__file__).parents[1]
CARDS = sorted((ROOT / "skytutor" / "checkpoints").glob("*.json"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "book").rglob("*.md")),
    *sorted((ROOT / "book").rglob("*.ipynb")),
    *sorted((ROOT / "skytutor").rglob("*.py")),
]


# --- commands by name -----------------------------------------------------------------------------


def subcommands():
    """Return the parser of each subcommand."""
    actions = cli._parser()._actions
    (chosen,) = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    return chosen.choices


def named(text):
    """Yield the commands that a page or a docstring names.

    They stand in backticks, one or two, or begin a line of a code block or of a notebook's cell.
    """
    for span in re.findall(r"(`{1,2})([^`\n]+)\1", text):
        yield from _command(span[1])
    line_of_code = r"^[ \t\"]*[!$%]? ?((?:\S*python3?|skytutor) ?[^`\n]*)$"
    for line in re.findall(line_of_code, text, re.MULTILINE):
        yield from _command(line)


def _command(text):
    found = re.match(r"\s*[!$%]? ?((?:\S*python3? -m )?skytutor(?:\.[a-z_.]+)? ?[^`\n\"\\]*)", text)
    if found is None:
        return
    words = found[1].split("#")[0].split()
    through_python = "-m" in words
    words = words[words.index("-m") + 1 :] if through_python else words
    module, *words = words
    if through_python or (module == "skytutor" and words and re.match(r"[a-z]", words[0])):
        yield module, words


def fault(module, words):
    """Say what is wrong with a command that a page names; None if nothing is."""
    if module != "skytutor":
        spec = importlib.util.find_spec(module)
        runs = spec is not None and "__main__" in Path(str(spec.origin)).read_text()
        return None if runs else f"python -m {module} runs nothing"
    if not words:
        return None
    parsers = subcommands()
    name, *rest = words
    if name not in parsers:
        return f"skytutor has no {name}"
    known = parsers[name]._option_string_actions
    options = [word.split("=")[0].rstrip(",.;:") for word in rest if word.startswith("-")]
    unknown = [option for option in options if option not in known]
    if unknown:
        return f"skytutor {name} has no {', '.join(unknown)}"
    # The first argument, where it is a word and no placeholder such as RECIPE: "a|b" names two.
    first = set(rest[0].split("|")) if rest and re.match(r"[a-z]", rest[0]) else set()
    recipes = set(chapters.ENTRIES)
    allowed = {
        "data": {"list", "fetch", "pairs"},
        "compute": {
            "limits",
            "emulator",
            "best-fit",
            "ablations",
            "spectra-seeds",
            "spectra-universes",
            "spectra-published",
            "spectra-limits-check",
            "bands-subsets",
            "bands-adversaries",
            "bands-limits-check",
            "bands-limits-beside",
        },
        "train": recipes,
        "evaluate": recipes,
    }
    strange = sorted(first - allowed.get(name, set()))
    return f"skytutor {name} has no {', '.join(strange)}" if strange else None


def test_what_pages_and_docstrings_name_exists():
    wrong = []
    found = set()
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells)
        for module, words in named(text):
            found.add((module, *words[:1]))
            said = fault(module, words)
            if said:
                wrong.append(f"{path.relative_to(ROOT)}: {said}")
    assert not wrong, "\n".join(wrong)
    wanted = {("skytutor", name) for name in subcommands()}
    assert found >= wanted, f"named nowhere, or not found: {wanted - found}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run `skytutor compte limits`", "skytutor has no compte"),
        ("run ``skytutor compute lmits``", "skytutor compute has no lmits"),
        ("```\nskytutor train digits-fixed --profil cpu\n```", "skytutor train has no --profil"),
        ("    !skytutor evaluate digits-fxed --json", "skytutor evaluate has no digits-fxed"),
        ("`python -m skytutor.limits`", "python -m skytutor.limits runs nothing"),
        ("    .venv/bin/python -m skytutor trane", "skytutor has no trane"),
        ("$ python -m skytutor.data.digits 3", "python -m skytutor.data.digits runs nothing"),
        ("`skytutor data get mnist`", "skytutor data has no get"),
        ("`.venv/bin/python -m skytutor trai RECIPE`", "skytutor has no trai"),
    ],
)
def test_a_command_that_does_not_exist_is_found(text, said):
    assert [fault(*command) for command in named(text)] == [said]


@pytest.mark.parametrize(
    "text",
    [
        "`skytutor`, `skytutor.cli` and `from skytutor import chapters`",
        "from skytutor import cli\nimport skytutor",
        "the `skytutor` command reads",
    ],
)
def test_what_is_no_command_is_not_taken_for_one(text):
    assert list(named(text)) == []


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_command_of_a_card_is_one(path):
    """Parsed by the real parser; it makes the file that the card belongs to."""
    command = checkpoint.read_card(path)["command"]
    program, *words = shlex.split(command)
    assert program == "skytutor"
    args = cli._parser().parse_args(words)
    if args.command == "train":
        assert args.recipe == path.stem
        assert args.recipe in chapters.ENTRIES
        assert args.profile == "gpu"
    else:
        made = {
            "limits": limits.NAME,
            "emulator": emulator.NAME,
            "best-fit": best_fit.NAME,
            "ablations": ablations.NAME,
        }
        assert args.command == "compute"
        # A study of chapter 4 is named as its card.
        assert made.get(args.what, args.what) == path.stem


def test_every_subcommand_has_help(capsys):
    for name in ["", *subcommands()]:
        with pytest.raises(SystemExit) as caught:
            cli.main([*name.split(), "--help"])
        assert caught.value.code == 0
        shown = capsys.readouterr()
        assert shown.out.startswith(f"usage: skytutor {name}")
        assert "--help" in shown.out and shown.err == ""


# --- compute --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _embedded_digits(monkeypatch, tmp_path, one_thread):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("SKYTUTOR_PROFILE", "smoke")


def computed(capsys, what, folder):
    """Run `skytutor compute`; return the lines it printed."""
    words = ["compute", what, "--folder", str(folder)]
    assert cli.main(words) == 0
    return capsys.readouterr().out.splitlines()


def card_of(what, name, folder):
    card = checkpoint.read_card(folder / f"{name}.json")
    assert card["command"] == f"skytutor compute {what}"
    assert {"date", "device", "seed", "versions", "threads", "profile"} <= set(card)
    return card


def test_compute_limits(capsys, tmp_path, monkeypatch):
    """All rows of the table of the package; what needs no skies has the same numbers."""

    def pixel_errors(simulator, *, size, seed, reach):
        return torch.full((size, 2), 1 - simulator.f_sky) + 0.01 * torch.arange(size)[:, None]

    def pixel_fisher_percent(simulator, *, size, seed):
        return torch.full((2,), simulator.f_sky)

    monkeypatch.setattr(limits_table, "compute", partial(limits_table.compute, size=4))
    monkeypatch.setattr(limits_table, "pixel_errors", pixel_errors)
    monkeypatch.setattr(limits_table, "pixel_fisher_percent", pixel_fisher_percent)
    lines = computed(capsys, "limits", tmp_path)
    assert lines == [str(tmp_path / "cmb-limits.json")]
    table = card_of("limits", "cmb-limits", tmp_path)["limits"]
    pretrained = limits.load_limits()
    assert list(table) == list(pretrained)
    for name, row in table.items():
        assert set(row) == set(pretrained[name])
        if "sigma_percent" in row:
            assert row["sigma_percent"] == pytest.approx(
                pretrained[name]["sigma_percent"], rel=1e-6
            )
        else:
            assert row["maps"] == 4
            assert len(row["error_percent"]) == len(pretrained[name]["error_percent"])
    assert table["cmb-t2-sky20"]["error_percent"] == pytest.approx([81.5, 81.5])
    assert table["cmb-t2-sky20"]["fisher_percent"] == pytest.approx([0.2, 0.2])


def smooth_camb(scale):
    """Stand in for CAMB with a cubic in tau and a square in r: splines through it are exact."""

    def spectra(*, lmax, tau, r):
        l = torch.arange(lmax + 1, dtype=torch.float64)
        shape = scale / (1 + l)
        reionisation = 1 + 20 * tau + 300 * tau**3
        return {
            "EE": shape * reionisation,
            "BB": shape * (1 + 50 * r + 900 * r**2) * reionisation,
        }

    return spectra


def kinked_camb(*, lmax, tau, r):
    """Stand in for CAMB with a kink between two nodes, where a spline must be off."""
    kink = 1 + abs(tau - 0.0525)
    return {field: torch.full((lmax + 1,), kink).double() for field in ("EE", "BB")}


def test_compute_emulator(capsys, tmp_path, monkeypatch):
    """The error is that of the table just written: not the package's, nor an earlier one's."""
    monkeypatch.setitem(sys.modules, "camb", SimpleNamespace(__version__="1.2.3"))
    errors = []
    for camb in (smooth_camb(1.0), kinked_camb, smooth_camb(3.0)):
        monkeypatch.setattr(emulator, "camb_spectra", camb)
        path, said = computed(capsys, "emulator", tmp_path)
        assert path == str(tmp_path / "cmb-emulator.safetensors")
        errors.append(float(said.removeprefix("largest relative error between nodes: ")))
        card = card_of("emulator", "cmb-emulator", tmp_path)
        assert card["versions"]["camb"] == "1.2.3"
        tensors, _ = checkpoint.load_checkpoint(tmp_path, "cmb-emulator")
        assert torch.equal(tensors["nodes"], emulator.nodes())
        assert f"{emulator.worst_error(folder=tmp_path):.1e}" == said.split()[-1]
        assert emulator.worst_error() > 0.1, "the package's table is another"
    assert errors[0] < 1e-12 and errors[2] < 1e-12
    assert 1e-5 < errors[1] < 1e-2


def test_compute_best_fit(capsys, tmp_path):
    (path,) = computed(capsys, "best-fit", tmp_path)
    assert path == str(tmp_path / "planck-best-fit.safetensors")
    card_of("best-fit", "planck-best-fit", tmp_path)
    found = best_fit.best_fit_spectra(folder=tmp_path)
    for name, spectrum in best_fit.best_fit_spectra().items():
        assert torch.allclose(found[name], spectrum, rtol=1e-6, atol=0)


@pytest.fixture
def small_ablations(monkeypatch):
    """Two rows of three steps each."""
    monkeypatch.setattr(ablations, "ABLATIONS", ablations.ABLATIONS[:2])
    small = partial(ablations.run, steps=3, size=100, progress=False)
    monkeypatch.setattr(ablations, "run", small)


def test_compute_ablations(capsys, tmp_path, small_ablations):
    *rows, path = computed(capsys, "ablations", tmp_path)
    assert path == str(tmp_path / "sphere-gan-ablations.json")
    card = card_of("ablations", "sphere-gan-ablations", tmp_path)
    assert [json.loads(row) for row in rows] == card["rows"]
    pretrained = ablations.load_ablations()
    assert set(card) == set(pretrained)
    assert [set(row) for row in card["rows"]] == [set(row) for row in pretrained["rows"][:2]]
    words = [row["description"] for row in card["rows"]]
    assert words == [row["description"] for row in pretrained["rows"][:2]]


@pytest.mark.parametrize(
    ("what", "module", "name"),
    [
        ("spectra-seeds", "spectra.study", "make_seeds"),
        ("spectra-universes", "spectra.study", "make_universes"),
        ("spectra-published", "spectra.study", "make_published"),
        ("spectra-limits-check", "spectra.limit_checks", "make_limits_check"),
        ("bands-subsets", "translation.study", "make_subsets"),
        ("bands-limits-check", "translation.oracle_checks", "make_limits_check"),
        ("bands-adversaries", "translation.study", "make_adversaries"),
    ],
)
def test_compute_a_study(capsys, tmp_path, monkeypatch, what, module, name):
    """Each name makes the card of that name, of the full study whatever the profile."""
    asked = []

    def make(folder, *, command, profile):
        asked.append((command, profile.name))
        return folder / f"{what}.json"

    monkeypatch.setattr(f"skytutor.chapters.{module}.{name}", make)
    assert computed(capsys, what, tmp_path) == [str(tmp_path / f"{what}.json")]
    assert asked == [(f"skytutor compute {what}", "gpu")]


# --- a stopped command says how it goes on --------------------------------------------------------


@pytest.fixture
def stop_at(monkeypatch):
    """Return a function that presses Ctrl-C while the n-th loss of a task is taken."""

    def at(task, n):
        loss = task.loss
        left = [n]

        def watched(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGINT)
            return loss(*args, **kwargs)

        monkeypatch.setattr(task, "loss", watched)

    return at


def test_stopped_ablations_go_on_by_themselves(capsys, tmp_path, small_ablations, stop_at):
    """The message does not ask for an option that `compute` lacks; the rows are those of one go."""
    words = ["compute", "ablations", "--folder", str(tmp_path / "cut")]
    # Two networks take a step each: the ninth loss is in the second row's second step.
    stop_at(DigitGanTask, 9)
    assert cli.main(words) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    state = tmp_path / "cut" / "sphere-gan-ablations-1" / "state.safetensors"
    assert said == (
        f"skytutor: stopped after step 2 of 3; the state is in {state}; the same command goes on"
    )
    assert cli.main(words) == 0
    computed(capsys, "ablations", tmp_path / "whole")
    rows = []
    for folder in ("cut", "whole"):
        card = card_of("ablations", "sphere-gan-ablations", tmp_path / folder)
        rows.append([{**row, "seconds": 0} for row in card["rows"]])
    assert rows[0] == rows[1]


def test_a_stopped_training_goes_on_when_it_is_asked_to(capsys, tmp_path, stop_at):
    words = ["train", "digits-mended", "--folder", str(tmp_path)]
    stop_at(DigitsTask, 3)
    assert cli.main(words) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    state = tmp_path / "digits-mended" / "state.safetensors"
    assert re.fullmatch(
        rf"skytutor: stopped after step 3 of \d+; the state is in {re.escape(str(state))}; "
        "the same command with --resume goes on",
        said,
    )
    assert cli.main([*words, "--resume"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "digits-mended"], "stopped; the same command with --resume goes on"),
        (["compute", "ablations"], "stopped; the same command goes on"),
        (["compute", "limits"], "stopped"),
        (["evaluate", "digits-mended"], "stopped"),
    ],
)
def test_what_is_said_of_a_command_that_was_stopped_elsewhere(capsys, monkeypatch, words, said):
    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, words[0], stopped)
    assert cli.main(words) == 130
    assert capsys.readouterr().err == f"skytutor: {said}\n"


@pytest.mark.parametrize("what", ["limits", "emulator", "ablations"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    what, tmp_path, capsys, monkeypatch
):
    """The tables take minutes to a quarter of an hour: none of it is done for nothing."""
    work = []
    for module in (limits_table, emulator, ablations):
        monkeypatch.setattr(module, "make", lambda *args, **kwargs: work.append(args))
    (tmp_path / "taken").write_text("a file")
    folder = tmp_path / "taken" / "tables"
    assert cli.main(["compute", what, "--folder", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "cannot write" in said and str(folder) in said and said.count("\n") == 1
    assert not work


def test_a_trial_of_a_folder_leaves_nothing_in_it(tmp_path):
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
