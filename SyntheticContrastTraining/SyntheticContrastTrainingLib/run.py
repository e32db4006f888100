"""A run from its first step to its last: reading ahead, log, pictures, validation, checkpoints, stopping and going on.

A run's folder holds `recipe.json`, `log.jsonl` (one line every few steps, and one a validation), `curves.png`,
`montage_<step>.png` and the checkpoints.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import numpy as np
import torch

from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.process import Cancelled
from SyntheticContrastTrainingLib.checkpoint import BEST, LAST, PREVIOUS, load_latest
from SyntheticContrastTrainingLib.curves import draw_curves, read_log
from SyntheticContrastTrainingLib.dataset import Pair
from SyntheticContrastTrainingLib.loading import read_ahead
from SyntheticContrastTrainingLib.montage import save_montage
from SyntheticContrastTrainingLib.plan import Plan
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.trainer import Trainer
from SyntheticContrastTrainingLib.validation import synthesise, validate

LOG, RECIPE, CURVES = "log.jsonl", "recipe.json", "curves.png"

Scalars = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Schedule:
    """How often a run reports and saves, in steps; `keep_every` is in epochs, 0 is never."""

    log_every: int = 10
    montage_every: int = 200
    validate_every: int = 200
    save_every: int = 100
    keep_every: int = 0
    threads: int = 2  # that read ahead


def train(
    trainer: Trainer,
    output: Path,
    schedule: Schedule,
    tell: Callable[[str], None],
    held_out: Sequence[Pair] = (),
    shown: Sequence[Pair] = (),
    scalars: Scalars | None = None,
) -> None:
    """Train to the last step of the plan.

    Args:
        held_out: stacks of whole slices of the validation patients, none to go without a validation.
        shown: stacks whose middle slices the montage shows.
        scalars: is given each line of the log, too.

    Raises:
        Cancelled: when SIGINT or SIGTERM came; a checkpoint was saved.
        InputError: when a loss is no number or the disk is full; the last checkpoint is kept.
    """
    total = trainer.plan.total_steps
    journal = Journal(trainer, output, tell, scalars)
    pace = Pace(trainer.plan)
    with (
        stop_on_signal() as asked,
        read_ahead(trainer.read, trainer.step, total, schedule.threads) as ahead,
        journal.opened(),
    ):
        while trainer.step < total:
            started = time.monotonic()
            losses = trainer.train_step(ahead.next())
            taken = time.monotonic() - started
            trainer.seconds += taken
            pace.add(trainer.step - 1, taken)

            done = trainer.step
            stop = agreed(trainer, asked())
            journal.add(losses)
            if trainer.crew.leads:
                due = {name: done % every == 0 or done == total for name, every in intervals(schedule).items()}
                if due["log"]:
                    journal.write_losses(pace.left(done))
                if due["validate"] and held_out:
                    journal.write_scores(held_out)
                if due["montage"] and shown:
                    journal.draw(shown)
                if due["save"] or stop:
                    trainer.checkpoint().save_last(output)
                keep_epoch(trainer, output, schedule.keep_every)
            if stop and done < total:
                raise Cancelled


def intervals(schedule: Schedule) -> dict[str, int]:
    return {
        "log": schedule.log_every,
        "validate": schedule.validate_every,
        "montage": schedule.montage_every,
        "save": schedule.save_every,
    }


def agreed(trainer: Trainer, stop: bool) -> bool:
    """Whether any process was asked to stop: all of them then stop after the same step."""
    return bool(trainer.crew.average(torch.tensor(float(stop), device=trainer.device)) > 0)


def keep_epoch(trainer: Trainer, output: Path, every: int) -> None:
    """Write `epoch_<n>.pt` after every so many epochs, counted from 1."""
    plan, done = trainer.plan, trainer.step
    ended = done * trainer.recipe.batch_size // plan.stacks
    before = (done - 1) * trainer.recipe.batch_size // plan.stacks
    if every and ended // every > before // every:
        trainer.checkpoint().save(output / f"epoch_{ended:04d}.pt")


class Journal:
    """What the leading process writes into the run's folder, and says."""

    def __init__(self, trainer: Trainer, output: Path, tell: Callable[[str], None], scalars: Scalars | None) -> None:
        self.trainer, self.output, self.tell, self.scalars = trainer, output, tell, scalars
        self.losses: list[dict[str, float]] = []
        self.log: TextIO | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        if not self.trainer.crew.leads:
            yield
            return
        with (self.output / LOG).open("a", encoding="utf-8") as self.log:
            yield

    def add(self, losses: dict[str, float]) -> None:
        self.losses.append(losses)

    def write(self, line: dict[str, Any]) -> None:
        assert self.log is not None
        self.log.write(json.dumps(line) + "\n")
        self.log.flush()
        if self.scalars:
            self.scalars(line)

    def write_losses(self, seconds_left: float) -> None:
        """The means since the last line."""
        trainer, plan = self.trainer, self.trainer.plan
        means = {name: float(np.mean([losses[name] for losses in self.losses])) for name in self.losses[-1]}
        self.losses.clear()
        done, total = trainer.step, plan.total_steps
        epoch = done * trainer.recipe.batch_size / plan.stacks
        self.write(
            {"step": done, "steps": total, "epoch": round(epoch, 3)}
            | {name: round(value, 6) for name, value in means.items()}
            | {
                "learning_rate": plan.learning_rate(done - 1),
                "seconds": round(trainer.seconds, 1),
                "seconds_left": round(seconds_left),
            }
        )
        parts = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        self.tell(f"step {done}/{total}  epoch {epoch:.2f}  {parts}  {seconds_left / 60:.0f} min left")

    def write_scores(self, held_out: Sequence[Pair]) -> None:
        """Validate the model; keep it as `best.pt` if its PSNR is the highest so far."""
        trainer = self.trainer
        scores = {
            name: value
            for name, value in asdict(validate(trainer.ema, held_out, trainer.recipe)).items()
            if value is not None
        }
        trainer.validation = scores
        self.write({"step": trainer.step} | {name: round(value, 3) for name, value in scores.items()})
        best = trainer.best_psnr is None or scores["psnr"] > trainer.best_psnr
        self.tell(
            f"step {trainer.step}  validation MAE {scores['mae']:.2f} HU (input {scores['input_mae']:.2f})  "
            f"PSNR {scores['psnr']:.2f} dB (input {scores['input_psnr']:.2f})"
            f"{'  Dice {:.3f}'.format(scores['dice']) if 'dice' in scores else ''}{'  best so far' if best else ''}"
        )
        if best:
            trainer.best_psnr = scores["psnr"]
            trainer.checkpoint().save(self.output / BEST)

    def draw(self, shown: Sequence[Pair]) -> None:
        trainer, middle = self.trainer, self.trainer.recipe.depth // 2
        slices = [
            (stack.ncct[middle], synthesise(trainer.ema, stack, trainer.recipe)[middle], stack.cect[middle])
            for stack in shown
        ]
        title = f"step {trainer.step} of {trainer.plan.total_steps}; synthetic - not for diagnosis"
        save_montage(self.output / f"montage_{trainer.step:06d}.png", slices, title)
        draw_curves(self.output / LOG, self.output / CURVES)


def start_run(trainer: Trainer, output: Path, resume: bool, tell: Callable[[str], None]) -> None:
    """Make the folder `output` for a new run, or go on with the one that was at work there.

    Raises:
        InputError: if `output` holds a run already and `resume` is not asked for, or the other way round.
    """
    if resume:
        go_on(trainer, output, tell)
        return
    if any((output / name).exists() for name in (LAST, PREVIOUS, LOG)):
        raise InputError(f"{output} holds a run already: continue it with --resume, or give another --output")
    trainer.crew.wait()
    if trainer.crew.leads:
        output.mkdir(parents=True, exist_ok=True)
        with atomic_file(output / RECIPE) as temporary:
            temporary.write_text(trainer.recipe.to_json(), encoding="utf-8")


def go_on(trainer: Trainer, output: Path, tell: Callable[[str], None]) -> None:
    """Restore the last checkpoint, and take away what a killed run wrote after it.

    A run that was killed before its first checkpoint starts again.

    Raises:
        InputError: if there is no run, its checkpoints are damaged, or it was started differently.
    """
    leads = trainer.crew.leads
    begun = (output / RECIPE).is_file() and not any((output / name).exists() for name in (LAST, PREVIOUS))
    if begun:
        if Recipe.from_json((output / RECIPE).read_text(encoding="utf-8")) != trainer.recipe:
            raise InputError("the run was started with another recipe: resume it with the same settings")
        tell("the run has no checkpoint yet: starting again")
    else:
        trainer.restore(load_latest(output, tell if leads else lambda line: None))
    trainer.crew.wait()
    if leads:
        keep_log_up_to(output / LOG, trainer.step)
        for left_over in output.glob(".partial-*"):
            left_over.unlink()


def keep_log_up_to(path: Path, step: int) -> None:
    """Drop the lines that a killed run wrote after its last checkpoint."""
    if not path.exists():
        return
    kept = [json.dumps(line) + "\n" for line in read_log(path) if line["step"] <= step]
    with atomic_file(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


class Pace:
    """Time left, from the time that steps of either crop took; a step costs in proportion to its area."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seconds_per_pixel = math.nan

    def add(self, step: int, seconds: float) -> None:
        now = seconds / self.plan.crop(step) ** 2
        known = not math.isnan(self.seconds_per_pixel)
        self.seconds_per_pixel = 0.95 * self.seconds_per_pixel + 0.05 * now if known else now

    def left(self, step: int) -> float:
        early = max(0, self.plan.first_steps - step)
        late = self.plan.total_steps - step - early
        recipe = self.plan.recipe
        return self.seconds_per_pixel * (early * recipe.crop**2 + late * recipe.final_crop**2)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within the block SIGINT and SIGTERM only ask to stop, so that no step is cut in two."""
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
