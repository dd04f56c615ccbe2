"""Run every benchmark and print its table: ``python -m benchmarks``."""

import platform
from datetime import date

import torch

from benchmarks import pixel


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{date.today()}, {name}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    pixel.report(device)


if __name__ == "__main__":
    main()
