"""A training task of a second or two, on real digits, and a script that runs it by itself.

`python tests/small_task.py FOLDER [--resume] [--pause SECONDS] [--devices N] [--plain]` trains
it. The tests kill the process, interrupt it, or start two of it.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from skytutor.data import digits, projection
from skytutor.layers.pixel import HierarchicalConv
from skytutor.training.interrupt import Interrupted
from skytutor.training.loop import train
from skytutor.training.schedule import Schedule, Task


class SmallTask(Task):
    """Embedded digits at Nside 4, each drawn with noise of its own.

    `pause` makes steps slow enough for a kill in mid-step.
    """

    score = "accuracy"

    def __init__(self, *, count: int = 256, pause: float = 0.0):
        data = digits.load("embedded")
        project = projection.Projector(4, size_deg=180, order="nested")
        images, self.labels = (t[:count] for t in data.part("train"))
        seen, self.seen_labels = data.part("validation")
        self.maps = project(images)
        self.seen = project(seen)
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
    """Return a network that learns the task, always with the same weights at the start."""
    torch.manual_seed(5)
    return nn.Sequential(
        HierarchicalConv(1, 8, order="nested"),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        HierarchicalConv(8, 16, order="nested"),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(192, 10),
    )


def schedule(**changes) -> Schedule:
    """Return a plan of three epochs that saves after every step, with `changes`."""
    plan = {"epochs": 3, "batch_size": 32, "lr": 0.01, "average": 0.9, "save_every_s": 0.0}
    return Schedule(**plan | changes)


PLAIN = {"optimizer": "sgd", "average": 0.0, "lr": 0.1}


def plain_model() -> nn.Module:
    """Return a network without dropout and batch statistics: what several processes can repeat."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 10))
    torch.manual_seed(6)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def main() -> int:
    """Train in this process, as the command line says, and return the exit status."""
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

    strategy = "ddp" if args.devices > 1 else "auto"
    fabric = Fabric(accelerator="cpu", devices=args.devices, strategy=strategy)
    fabric.launch()
    model = plain_model() if args.plain else small_model()
    changes = PLAIN if args.plain else {}
    try:
        result = train(
            model,
            SmallTask(pause=args.pause),
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
