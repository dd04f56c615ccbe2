"""skytutor.training.runfolder: one process at a time, and nothing is thrown away unasked."""

import os
import signal
import subprocess
import sys

import pytest
from small_task import SmallTask, schedule, small_model

from skytutor.files import CheckpointError, remove_parts
from skytutor.training.loop import train
from skytutor.training.runfolder import hold


def run(folder, **options):
    plan = schedule(epochs=1, save_every_s=1e9)
    task = SmallTask(count=64)
    return train(
        small_model(), task, schedule=plan, folder=folder, recipe="small", progress=False, **options
    )


HOLDER = """
import sys, time
from skytutor.training.runfolder import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Let another process hold the folder, as if it trained there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path, holder):
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(CheckpointError, match="another process is training in"):
            run(tmp_path, **options)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_none(tmp_path, holder, signum):
    os.kill(holder.pid, signum)
    holder.wait(timeout=20)
    assert len(run(tmp_path).history) == 1


def test_the_holder_may_hold_it_once_more(tmp_path):
    with hold(tmp_path), hold(tmp_path / "." / ""):
        pass
    with hold(tmp_path):
        assert len(run(tmp_path).history) == 1


def test_an_earlier_training_is_not_overwritten_unasked(tmp_path):
    first = run(tmp_path)
    before = (tmp_path / "state.safetensors").read_bytes()
    for seed in (0, 1):  # the same command again, and another seed
        with pytest.raises(CheckpointError) as caught:
            run(tmp_path, seed=seed)
        assert "--resume" in str(caught.value) and "--overwrite" in str(caught.value)
        assert (tmp_path / "state.safetensors").read_bytes() == before
    assert run(tmp_path, resume=True).history == first.history
    assert run(tmp_path, seed=1, overwrite=True).history != first.history
    with pytest.raises(ValueError, match="resume and overwrite"):
        run(tmp_path, resume=True, overwrite=True)


def test_parts_of_dead_writers_go_and_others_stay(tmp_path):
    names = [
        ".state.safetensors.123.part",
        ".state.safetensors.4.part",
        "state.part",
        ".other.safetensors.1.part",
    ]
    for name in names:
        (tmp_path / name).write_text("half")
    run(tmp_path)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {".lock", "state.safetensors", "state.part", ".other.safetensors.1.part"}
    remove_parts(tmp_path / "nowhere", "state")


def test_a_killed_writer_leaves_a_part_that_the_next_run_clears(tmp_path):
    code = (
        "import os, signal, sys; from skytutor import files; "
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL); "
        "files.write_atomic(sys.argv[1], b'half')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "state.safetensors")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".state.*.part"))) == 1
    run(tmp_path)
    assert list(tmp_path.glob(".state.*.part")) == []


def test_a_folder_whose_name_is_too_long(tmp_path):
    with pytest.raises(CheckpointError, match="File name too long"):
        run(tmp_path / ("x" * 300))


def test_two_commands_in_one_folder_cannot_both_succeed(tmp_path):
    """Started together: one trains, the other is refused in one line."""
    train = ["train", "digits-mended", "--profile", "smoke", "--folder", str(tmp_path)]
    command = [sys.executable, "-m", "skytutor", *train]
    environment = os.environ | {"SKYTUTOR_DATA": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    ends = [(process.communicate(timeout=300), process.returncode) for process in both]
    assert sorted(status for _, status in ends) == [0, 2], ends
    (_, error), _ = next(end for end in ends if end[1] == 2)
    assert error.startswith("skytutor: error: ") and error.count("\n") == 1
    assert "another process" in error or "earlier training" in error
