"""The page of the API on modes of torch, from what the tests of the modules expect.

    python tests/torch_page.py

writes it; a test compares.
"""

from pathlib import Path

from torch_cells import REFUSED
from torch_modes import MODES
from torch_modules import CASES

PAGE = Path(__file__).parents[1] / "book/api/torch-modes.md"
MEANINGS = {
    "autocast": "inside `torch.autocast` with bfloat16",
    "double()": "after `.double()`, with inputs in float64",
    "half()": "after `.half()`, with inputs in float16",
    "bfloat16()": "after `.bfloat16()`, with inputs in bfloat16",
    "to_empty": "moved to the meta device, `to_empty`, then `load_state_dict`",
    "built on meta": "built under `torch.device('meta')`, then the same",
    "shared": "the same module in two places of a network, through `train()` and back, a step of "
    "an optimizer and `load_state_dict`",
    "tied": "two modules whose weights are the same parameters, likewise",
    "deepcopy": "`copy.deepcopy` after a call and its gradient",
    "pickle": "through `pickle`, likewise",
    "torch.save": "through `torch.save` and `torch.load`, likewise",
    "vmap": "`torch.func.vmap` over the batch",
    "func.grad": "`torch.func.grad`, against finite differences",
    "func.jvp": "`torch.func.jvp`, against finite differences",
    "second derivative": "the gradient of a gradient, against finite differences",
    "export": "`torch.export.export`",
    "compile": "`torch.compile` with no break of the graph",
    "inference first": "first under `torch.inference_mode`, then trained",
    "frozen": "with weights that take no gradient",
    "strided": "inputs whose elements do not lie side by side",
    "default float64": "with `torch.set_default_dtype(torch.float64)`",
}
SAYS = (
    "Every public module of the library was tried in every mode below. It gives what it gives "
    "outside of that mode, to the precision of the numbers, or it is refused in a sentence that "
    "says why. The tests run every cell, and this page is made from what they expect."
)
AFTER = (
    "`WienerFilter` takes batches as they are, and `torch.autograd` gives its derivatives of every "
    "order.",
    "",
    "In the workers of a `torch.utils.data.DataLoader`, forked or spawned, every one of these "
    "modules gives what it gives in the main process.",
)


def page():
    """Return the text of the page."""
    lines = ["# Modes of torch", "", SAYS, "", "## The modes", ""]
    lines += ["| Mode | What is tried |", "|---|---|"]
    lines += [f"| {mode} | {MEANINGS[mode]} |" for mode in MODES]
    names = sorted(CASES)
    cells = len(names) * len(MODES)
    lines += [
        "",
        "## The modules",
        "",
        f"{len(names)} modules times {len(MODES)} modes are {cells} cells; {cells - len(REFUSED)} "
        f"of them work, and {len(REFUSED)} are refused in a sentence: no wrong number comes out of "
        "any, and no error of torch's own.",
        "",
        ", ".join(f"`{name}`" for name in names) + ".",
        "",
        "| Module | refused in a sentence |",
        "|---|---|",
    ]
    for name in names:
        refused = [mode for mode in MODES if (name, mode) in REFUSED]
        if refused:
            lines.append(f"| `{name}` | {', '.join(refused)} |")
    lines += ["", *AFTER]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
