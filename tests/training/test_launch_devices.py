"""Training on several devices of this machine: who may listen, what is said when one is gone."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from skytutor import cli
from skytutor.training import launch

ROOT = Path(__file__).parents[2]


def start(folder, *argv, **environment):
    usual = {
        "SKYTUTOR_PROFILE": "cpu",
        "SKYTUTOR_DATA": str(folder / "none"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    environment = os.environ | usual | environment
    command = [sys.executable, "-m", "skytutor", "train", "digits-fixed", "--folder", str(folder)]
    command += argv
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def listening(process):
    return [
        c.laddr.ip
        for c in psutil.Process(process.pid).net_connections()
        if c.status == psutil.CONN_LISTEN
    ]


def workers_at_work(process, folder):
    """Return the workers, once they have met and a state is there."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        workers = psutil.Process(process.pid).children()
        met = len(workers) == 2 and all(listening(worker) for worker in workers)
        if met and (folder / "digits-fixed" / "state.safetensors").exists():
            return workers
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"they never met: {process.communicate()}")


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core here")
def test_nobody_else_can_listen_and_a_lost_worker_is_said_in_a_sentence(tmp_path):
    process = start(tmp_path, "--devices", "2")
    workers = workers_at_work(process, tmp_path)
    assert {ip for worker in workers for ip in listening(worker)} == {"127.0.0.1"}
    assert listening(process) == []
    workers[1].send_signal(signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    last = error.strip().splitlines()[-1]
    assert process.returncode == 1 and "Traceback" not in error, error
    said = r"skytutor: error: process 1 of 2 was killed by SIGKILL.*--resume goes on"
    assert re.search(said, last), error
    assert psutil.wait_procs(workers, timeout=20)[1] == []

    process = start(tmp_path, "--devices", "2", "--resume")
    workers = workers_at_work(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert error.strip().splitlines()[-1].startswith("skytutor: stopped"), error
    assert error.count("stopped") == 1, "one of the two says it"

    process = start(tmp_path, "--devices", "2", "--resume")
    workers = workers_at_work(process, tmp_path)
    process.kill()
    process.communicate(timeout=60)  # the workers hold its pipes until they end
    alive = psutil.wait_procs(workers, timeout=30)[1]
    assert alive == [], "workers whose supervisor is gone stop by themselves"


def test_what_cannot_be_shared_is_refused_before_anything_starts(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "supervise", lambda *a, **k: pytest.fail("it started"))
    monkeypatch.setenv("SKYTUTOR_PROFILE", "smoke")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for recipe, devices, words in (
        ("digits-mended", "5", "devices must divide the batch_size of 64, got 5"),
        ("digits-mended", "64", "devices must lie in 1..8, the cores of this machine, got 64"),
        ("digits-mended", "0", "devices must lie in 1..8"),
        ("sphere-gan", "2", "devices must be 1"),
        ("sphere-gan-cmb", "2", "devices must be 1"),
    ):
        argv = ["train", recipe, "--devices", devices, "--folder", str(tmp_path / "runs")]
        assert cli.main(argv) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_plain_run_does_not_ask_slurm(tmp_path):
    slurm = {"SLURM_NTASKS": "7", "SLURM_JOB_NAME": "sky", "SLURM_PROCID": "3"}
    process = start(tmp_path, SKYTUTOR_PROFILE="smoke", **slurm)
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0 and "best epoch" in out, error
