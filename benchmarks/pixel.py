"""The halo convolution against its nine-column gather: forward and backward, same weights, same maps.

Activations are what a network would hand over: faces, channels-last, for the halo; NESTED maps for the gather.
"""

import time
from collections.abc import Callable

import torch

from skytutor.layers.pixel import GatherConv, HaloConv, to_faces
from skytutor.train import keep_memory

CASES = ((64, 4, 16, 16), (64, 4, 16, 32), (64, 4, 32, 32), (16, 32, 32, 32), (8, 64, 64, 64))


def _median(step: Callable[[], None], device: torch.device, repeats: int) -> float:
    times = []
    for k in range(repeats + 2):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if k > 1:
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _step(layer: torch.nn.Module, maps: torch.Tensor) -> Callable[[], None]:
    maps = maps.requires_grad_()
    out = layer(maps)
    seed = torch.randn_like(out)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        maps.grad = None
        layer(maps).backward(seed)

    return step


def measure(nside: int, batch: int, c_in: int, c_out: int, *, device: torch.device, repeats: int = 7) -> dict[str, float]:
    """Seconds for forward and backward of both layers, their ratio, and the largest difference of their outputs."""
    maps = torch.randn(batch, c_in, 12 * nside**2, device=device)
    halo = HaloConv(c_in, c_out, nside=nside, order="face").to(device)
    gather = GatherConv(c_in, c_out, nside=nside, order="nested").to(device)
    gather.load_state_dict(halo.state_dict())
    faces = to_faces(maps, nside=nside).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        apart = float((halo(faces) - to_faces(gather(maps), nside=nside)).abs().max())
    quick = _median(_step(halo, faces), device, repeats)
    slow = _median(_step(gather, maps), device, repeats)
    return {"halo": quick, "gather": slow, "ratio": slow / quick, "difference": apart}


def report(device: torch.device) -> None:
    """Print the table."""
    keep_memory()
    print("9-neighbour convolution, forward + backward, median")
    print("nside batch   in  out   halo / ms  gather / ms  gather / halo  max difference")
    for nside, batch, c_in, c_out in CASES:
        row = measure(nside, batch, c_in, c_out, device=device)
        print(
            f"{nside:5} {batch:5} {c_in:4} {c_out:4} {row['halo'] * 1e3:11.1f} {row['gather'] * 1e3:12.1f}"
            f" {row['ratio']:14.1f} {row['difference']:15.1e}"
        )
