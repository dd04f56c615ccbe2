"""Print the lower bounds of pyproject.toml as constraints.

    python tests/launch/lower_bounds.py > constraints.txt

CI installs with them to learn whether the bounds are true. Only the standard library: it runs
before any installation.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*>=\s*(?P<version>[0-9.]+)\s*(,.*)?"
)
CHECKED = ("chapters", "test")  # the extras that the job installs


def constraints(text: str) -> list[str]:
    """Turn every `name>=version` of the package and its checked extras into `name==version`."""
    project = tomllib.loads(text)["project"]
    wanted = list(project["dependencies"])
    for extra in CHECKED:
        wanted += project["optional-dependencies"][extra]
    lines = []
    for requirement in wanted:
        if requirement.startswith(project["name"]):
            continue  # the package names its own extras
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"pyproject.toml: expected name>=version, got {requirement!r}")
        lines.append(f"{match['name']}=={match['version']}")
    return lines


if __name__ == "__main__":
    print("\n".join(constraints(PYPROJECT.read_text())))
