"""The halo convolution against nine gathered columns, forward and backward.

All have the same weights and the same maps.

Two gathers: `GatherConv`, the package's reference, and gather-then-``Conv1d(kernel 9, stride 9)``,
the form that NNhealpix published. Activations are what a network would hand over: faces,
channels-last, for the halo; NESTED maps for the gathers.

Each case is timed twice: with the C library's allocator as torch leaves it, then with freed memory
kept, as `skytutor.training.loop` sets it. The gathers, which write nine times the map, gain more
from that than the halo does. The last column says how near the halo comes to what it cannot beat:
its multiplications at the speed at which this machine multiplies matrices.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.layers.pixel import GatherConv, HaloConv, to_faces
from skytutor.training.loop import tune_malloc

CASES = ((64, 4, 16, 16), (64, 4, 16, 32), (64, 4, 32, 32), (16, 32, 32, 32), (8, 64, 64, 64))


class NineColumns(GatherConv):
    """The same numbers as published: a one-dimensional convolution over nine columns each."""

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve ``(B, C, P)`` NESTED to ``(B, C', P)``."""
        # The zero at the end stands for the neighbour that 24 pixels do not have.
        columns = F.pad(maps, (0, 1)).index_select(2, self.around)  # (B, C, 9 P)
        return F.conv1d(columns, self.weight.flatten(2), self.bias, stride=9)


def _median(step: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """Return the median seconds of a call, after two that warm up."""
    times = []
    for k in range(repeats + 2):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if k > 1:
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _step(layer: nn.Module, maps: Tensor) -> Callable[[], None]:
    """Return a function that runs a layer forward and backward."""
    maps = maps.requires_grad_()
    seed = torch.randn_like(layer(maps))

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        maps.grad = None
        layer(maps).backward(seed)

    return step


def matrix_speed(device: torch.device) -> float:
    """Measure multiplications and additions a second in a large matrix product, float32."""
    a, b = torch.randn(2, 2048, 2048, device=device)
    return 2 * 2048**3 / _median(lambda: a @ b, device)


def measure(
    nside: int, batch: int, c_in: int, c_out: int, *, device: torch.device
) -> dict[str, float]:
    """Time forward and backward of the three layers.

    Returns:
        Seconds by the name of the layer; "difference", the largest one of their outputs; "work",
        the operations that forward and backward take.
    """
    maps = torch.randn(batch, c_in, 12 * nside**2, device=device)
    halo = HaloConv(c_in, c_out, nside=nside, order="face").to(device)
    others = {
        kind.__name__: kind(c_in, c_out, nside=nside, order="nested").to(device)
        for kind in (GatherConv, NineColumns)
    }
    faces = to_faces(maps, nside=nside, order="nested").contiguous(
        memory_format=torch.channels_last_3d
    )
    apart = 0.0
    for layer in others.values():
        layer.load_state_dict(halo.state_dict())
        with torch.no_grad():
            difference = halo(faces) - to_faces(layer(maps), nside=nside, order="nested")
        apart = max(apart, float(difference.abs().max()))
    row = {"HaloConv": _median(_step(halo, faces), device)}
    row |= {name: _median(_step(layer, maps), device) for name, layer in others.items()}
    # Forward and the two gradients, a multiplication and an addition for each of nine weights.
    work = 3 * 2 * 9 * batch * 12 * nside**2 * c_in * c_out
    return row | {"difference": apart, "work": work}


def _table(device: torch.device, speed: float) -> None:
    """Print a row for each case; `speed` is that of the matrix product."""
    print(
        "nside batch   in  out  halo / ms  gather / ms  ratio  nine columns / ms  ratio  "
        "max difference  of matrix speed"
    )
    for nside, batch, c_in, c_out in CASES:
        row = measure(nside, batch, c_in, c_out, device=device)
        halo, gather, nine = (row[k] * 1e3 for k in ("HaloConv", "GatherConv", "NineColumns"))
        percent = 100 * row["work"] / row["HaloConv"] / speed
        print(
            f"{nside:5} {batch:5} {c_in:4} {c_out:4} {halo:10.1f} {gather:12.1f} "
            f"{gather / halo:6.1f} {nine:18.1f} {nine / halo:6.1f} {row['difference']:15.1e} "
            f"{percent:14.0f} %"
        )


def report(device: torch.device) -> None:
    """Print both tables, measured on `device`."""
    speed = matrix_speed(device)
    print(
        "9-neighbour convolution, forward + backward, median. "
        f"Matrix products run at {speed / 1e9:.0f} GFLOP/s.\n"
    )
    print("Allocator as torch leaves it:")
    _table(device, speed)
    tune_malloc()
    print("\nFreed memory kept, as skytutor.training.loop sets it:")
    _table(device, speed)
