"""A training task of a second or two, on real digits, and a script that runs it in a process of its own.

`python tests/small_task.py FOLDER [--resume] [--pause SECONDS] [--devices N] [--no-dropout]` trains
it. The tests kill that process, interrupt it, or start two of it.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from skytutor.data import digits
from skytutor.layers.pixel import HierarchicalConv
from skytutor.schedule import Schedule
from skytutor.train import Interrupted, train


class SmallTask:
    """Embedded digits at Nside 4, each drawn with noise of its own; `pause` makes steps slow enough to kill."""

    score = "accuracy"

    def __init__(self, *, count: int = 256, pause: float = 0.0):
        data = digits.load("embedded")
        paint = digits.Projector(4, size_deg=180)
        images, self.labels = (t[:count] for t in data.part("train"))
        seen, self.seen_labels = data.part("validation")
        self.maps = paint(images)
        self.seen = paint(seen)
        self.size = len(self.labels)
        self.pause = pause

    def draw(self, n, *, generator):
        return [torch.randn(n, 1, 192, generator=generator)]

    def batch(self, indices, draws):
        time.sleep(self.pause)
        return self.maps[indices] + 0.05 * draws[0], self.labels[indices]

    def loss(self, model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    def validate(self, model):
        assert not model.training, "scores belong to evaluation mode"
        return {"accuracy": float((model(self.seen).argmax(1) == self.seen_labels).float().mean())}


class SignalledTask(SmallTask):
    """Presses Ctrl-C, or sends another signal, while step `at` runs."""

    def __init__(
        self, at: int, *, signum: int = signal.SIGINT, count: int = 256, pause: float = 0.0
    ):
        super().__init__(count=count, pause=pause)
        self.left = at
        self.signum = signum

    def loss(self, model, batch):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.signum)
        return super().loss(model, batch)


def small_model(dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        HierarchicalConv(1, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        HierarchicalConv(8, 16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(192, 10),
    )


def schedule(**changes) -> Schedule:
    return Schedule(
        **{"epochs": 3, "batch_size": 32, "lr": 0.01, "average": 0.9, "save_every_s": 0.0} | changes
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument(
        "--plain", action="store_true", help="no dropout and SGD: what several processes can repeat"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    from lightning_fabric import Fabric

    fabric = Fabric(
        accelerator="cpu", devices=args.devices, strategy="ddp" if args.devices > 1 else "auto"
    )
    fabric.launch()
    model = (
        nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 10))
        if args.plain
        else small_model()
    )
    changes = {"optimizer": "sgd", "average": 0.0, "lr": 0.1} if args.plain else {}
    task = SmallTask(pause=args.pause)
    if args.plain:
        torch.manual_seed(6)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
    try:
        result = train(
            model,
            task,
            schedule=schedule(**changes),
            folder=args.folder,
            seed=3,
            recipe="small",
            fabric=fabric,
            resume=args.resume,
            progress=False,
        )
    except Interrupted as stop:
        print(f"interrupted: {stop}", flush=True)
        return stop.exit_status
    torch.save(
        {"weights": model.state_dict(), "best": result.best},
        args.folder / f"rank{fabric.global_rank}.pt",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
