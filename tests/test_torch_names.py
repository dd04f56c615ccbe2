"""Names that torch does not promise to keep: which there are, and what happens without one."""

import ast
import importlib
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from skytutor import sht, values
from skytutor.sht.ducc import installed

PACKAGE = Path(values.__file__).parent
# Private modules of torch, and what is called with an underscore on its objects. Everything else
# is asked for by a public name.
FUNCTIONS = {("torch.utils._python_dispatch", "is_in_torch_dispatch_mode"): "values.py"}
METHODS = {
    "_apply": "tables.py: without it a table stays empty after to_empty()",
    "_load_from_state_dict": "tables.py: without it one stays empty after load_state_dict()",
    "_buffers": "plot/trace.py: without it a drawn network cannot be put back as it was",
}
FAKE = {
    "fake_mode": "memo.py: without it a kept table holds numbers inside torch.export",
    "from_tensor": "memo.py: likewise",
    "allow_non_fake_inputs": "memo.py: likewise",
}


def test_torch_still_has_the_names():
    missing = [
        f"{module}.{name} ({place})"
        for (module, name), place in FUNCTIONS.items()
        if not hasattr(importlib.import_module(module), name)
    ]
    missing += [f"nn.Module.{name} ({why})" for name, why in METHODS.items() if not has(name)]
    with FakeTensorMode():
        fake = torch.empty(0)
    objects = (fake, fake.fake_mode)
    missing += [
        f"{name} ({why})"
        for name, why in FAKE.items()
        if not any(hasattr(o, name) for o in objects)
    ]
    assert not missing, f"torch {torch.__version__} has no longer " + ", ".join(missing)


def has(name):
    return hasattr(nn.Module(), name)


def dotted(node):
    """Return the words of ``a.b.c``, the last first; "" stands for what is no name."""
    words = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return [*words, node.id if isinstance(node, ast.Name) else ""]


def private_names(path):
    """Yield the private names of torch that a file uses: of modules, and on torch itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            words = [*node.module.split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            words = [w for a in node.names if a.name.startswith("torch") for w in a.name.split(".")]
        elif isinstance(node, ast.Attribute):
            words = dotted(node)
            words = words if words[-1] in ("torch", "nn", "F", "forward_ad") else []
        else:
            continue
        yield from (word for word in words if word.startswith("_") and not word.startswith("__"))


def test_no_other_private_names_are_used():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if (names := sorted(set(private_names(path))))
    }
    assert not found, "ask for a public name, or find it in skytutor.values as the other one"


def test_a_name_that_is_gone_is_found_to_be():
    assert values._find("torch.utils._python_dispatch", "no_such_name") is None
    assert values._find("torch._no_such_module", "name") is None


@pytest.mark.skipif(not installed(), reason="needs ducc0")
def test_without_the_name_transforms_are_as_right(monkeypatch):
    maps = torch.randn(2, 192, dtype=torch.float64, requires_grad=True)
    settings = {"nside": 4, "lmax": 8, "order": "ring", "backend": "ducc0"}

    def both():
        alms = sht.map2alm(maps, **settings)
        return alms.detach(), torch.autograd.grad(alms.abs().square().sum(), maps)[0]

    expected = both()
    monkeypatch.setattr(values, "_in_dispatch_mode", None)
    assert values.is_intercepted()
    for found, wanted in zip(both(), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "transform",
    [torch.func.vmap, torch.func.grad, lambda f: torch.func.vmap(torch.func.grad(f))],
    ids=["vmap", "grad", "vmap of grad"],
)
def test_a_transform_is_seen_from_its_tensor(transform):
    def loss(x):
        assert values.is_transformed(x)
        return (x * values.on_values(x, lambda v: float(v.amax()))).sum()

    x = torch.tensor([[1.0, 4.0], [2.0, 3.0]])
    transform(loss)(x)
    assert not values.is_transformed(x)
