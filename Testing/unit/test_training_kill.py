"""A run that is killed, wherever it happens to be, and resumed ends as if nothing had happened: bit for bit."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from SyntheticContrastTrainingLib.checkpoint import load_checkpoint
from unit.entry import command
from unit.test_training_run import same
from unit.training_set import TRAIN, train_arguments, write_training_set

STEPS = 24
KILLS = 3
CHECKPOINTS = ("last.pt", "previous.pt")


def start(arguments):
    # One thread: with several, sums may be taken in another order.
    return subprocess.Popen(
        command(TRAIN, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error


def stamps(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in CHECKPOINTS if (folder / name).exists()}


def wait_until(process, happened):
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    data = write_training_set(tmp_path / "set", ["a", "b"])
    settings = (
        *("epochs=0", f"steps={STEPS}", "batch_size=2", 'validation=["b"]', "ema_decay=0.9", "noise_hu=5"),
        "spectral_norm=true",
    )
    every = ("--save-every", 1, "--log-every", 1, "--validate-every", 5)

    def arguments(folder, *more):
        return train_arguments(data, tmp_path / folder, *every, *more, recipe="choi2021", settings=settings)

    finish(start(arguments("whole")))

    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)  # pytest shows it if the test fails
    random = np.random.default_rng(seed)
    killed = tmp_path / "killed"
    for kill in range(KILLS):
        before = stamps(killed)
        process = start(arguments("killed", *(["--resume"] if kill else [])))
        if kill:
            wait_until(process, lambda before=before: stamps(killed) not in ({}, before))
        else:  # perhaps before the first checkpoint
            wait_until(process, (killed / "recipe.json").exists)
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended before it was killed: take more steps"
    finish(start(arguments("killed", "--resume")))

    whole, resumed = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "killed"))
    assert whole.step == resumed.step == STEPS
    assert same(whole, resumed)
    assert (whole.best_psnr, whole.validation) == (resumed.best_psnr, resumed.validation)
    assert load_checkpoint(tmp_path / "whole" / "best.pt").step == load_checkpoint(killed / "best.pt").step
    assert not list(killed.glob(".partial*"))
    logs = [
        [line.split('"seconds"')[0] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
