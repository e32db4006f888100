"""Two processes train as one does at the same batch: the same data, the same losses, the same weights on both."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tree
from SyntheticContrastTrainingLib.checkpoint import load_checkpoint
from unit.entry import call
from unit.training_set import TRAIN, train_arguments, write_training_set

STACKS = 13  # of one phantom: no multiple of the batch of 4
SETTINGS = ("epochs=2", "batch_size=4", "accumulation=2", "learning_rate=1e-3")

# What a process of the crew does: train.py, while it notes which stacks it reads and what its weights are in the end.
WORKER = """
import json, os, runpy, sys
sys.path[:0] = {folders!r}
sys.argv = sys.argv[1:]
from SyntheticContrastTrainingLib import dataset, trainer
seen, made = [], []
draw, start = dataset.Stacks.draw, trainer.Trainer.__init__
def noted_draw(self, recipe, place, crop):
    seen.append((place, self.number_at(recipe.seed, place)))
    return draw(self, recipe, place, crop)
def noted_start(self, *arguments, **options):
    made.append(self)
    start(self, *arguments, **options)
dataset.Stacks.draw, trainer.Trainer.__init__ = noted_draw, noted_start
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as leaving:
    if leaving.code:
        raise
    import torch
    rank = os.environ["RANK"]
    state = dict(made[0].generator.state_dict())
    if made[0].adversary:
        state |= {{"d." + key: value for key, value in made[0].adversary.learner.network.state_dict().items()}}
    torch.save(state, {folder!r} + "/weights" + rank + ".pt")
    open({folder!r} + "/seen" + rank + ".json", "w").write(json.dumps(seen))
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_crew(folder, arguments, size=2):
    """Run train.py in `size` processes with the environment that torchrun gives them; returns what they said."""
    worker = folder / "worker.py"
    worker.write_text(WORKER.format(folders=tree.folders(), folder=str(folder)))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(worker), str(TRAIN), *(str(argument) for argument in arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]
    return [(process.communicate(timeout=180), process.returncode) for process in processes]


@pytest.fixture(scope="module", params=["l1", "choi2021-code"])
def runs(request, tmp_path_factory):
    """The folders of a run in two processes and of one in a single process."""
    folder = tmp_path_factory.mktemp("crew")
    data = write_training_set(folder / "set", ["phantom"])
    settings = (*SETTINGS, "steps=0")

    def arguments(name):
        return train_arguments(data, folder / name, "--log-every", 1, recipe=request.param, settings=settings)

    said = run_crew(folder, arguments("two"))
    assert [status for _, status in said] == [0, 0], said
    one = subprocess.run(
        [sys.executable, str(TRAIN), *(str(argument) for argument in arguments("one"))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert one.returncode == 0, one.stderr
    return folder, [output for (output, _), _ in said]


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_both_processes_cover_the_same_data_once_an_epoch(runs):
    folder, _ = runs
    shares = [json.loads((folder / f"seen{rank}.json").read_text()) for rank in (0, 1)]
    steps = -(-2 * STACKS // 4)
    assert [len(share) for share in shares] == [2 * steps, 2 * steps]
    stream = dict(place for share in shares for place in share)
    assert sorted(stream) == list(range(4 * steps))  # each place read once, by one of them
    for epoch in range(2):
        assert sorted(stream[place] for place in range(epoch * STACKS, (epoch + 1) * STACKS)) == list(range(STACKS))


def test_both_processes_end_with_the_same_weights(runs):
    folder, _ = runs
    first, second = (torch.load(folder / f"weights{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_losses_are_those_of_one_process_at_the_same_batch(runs):
    folder, _ = runs
    two, one = log_of(folder / "two"), log_of(folder / "one")
    assert [line["step"] for line in two] == [line["step"] for line in one] == list(range(1, 8))
    for name in ("loss", "l1", "learning_rate"):
        values = [[line[name] for line in run] for run in (two, one)]
        assert values[0][:3] == pytest.approx(values[1][:3], rel=2e-4)
        assert values[0] == pytest.approx(values[1], rel=1e-3)  # Adam magnifies what rounding makes of small gradients
    weights = [load_checkpoint(folder / name / "last.pt").generator["network"] for name in ("two", "one")]
    apart = torch.cat([(weights[0][name] - weights[1][name]).abs().flatten() for name in weights[0]])
    assert apart.mean() < 2e-4  # 7 steps of Adam can move each by 7e-3, and take single ones apart by as much


def test_only_the_first_process_talks_and_writes(runs):
    folder, said = runs
    assert "2 processes on cpu" in said[0]
    assert said[1] == ""
    assert {path.name for path in (folder / "two").iterdir()} == {path.name for path in (folder / "one").iterdir()}


def test_a_run_of_two_processes_goes_on_in_one(runs, capsys):
    folder, _ = runs
    recipe = json.loads((folder / "two" / "recipe.json").read_text())["name"]
    arguments = train_arguments(
        folder / "set", folder / "two", "--resume", recipe=recipe, settings=(*SETTINGS, "steps=0")
    )
    outcome = call(TRAIN, arguments, capsys)
    assert outcome.status == 0, outcome.err
    assert "1 processes on cpu, from step 7 of 7" in outcome.out


def test_a_batch_that_cannot_be_shared_is_refused_by_all(tmp_path):
    data = write_training_set(tmp_path / "set", ["phantom"])
    worker = train_arguments(data, tmp_path / "run", settings=("steps=1", "batch_size=3"))
    for (_, error), status in run_crew(tmp_path, worker):
        assert status == 2
        assert "2 processes cannot share a batch of 3" in error
    assert not Path(tmp_path / "run").exists()
