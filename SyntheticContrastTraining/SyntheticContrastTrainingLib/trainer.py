"""The training loop.

A run's folder holds `recipe.json`, `log.jsonl` (one line every few steps), `montage_<step>.png` and `last.pt`.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.window import from_window, to_windows
from SyntheticContrastLib.models.choi2021 import IN_PLANE_MULTIPLE, Generator
from SyntheticContrastLib.synthesis.process import Cancelled
from SyntheticContrastTrainingLib.checkpoint import LAST, Checkpoint, load_checkpoint
from SyntheticContrastTrainingLib.dataset import AIR_HU, Pair, Stacks
from SyntheticContrastTrainingLib.losses import enhancement_weights, weighted_l1
from SyntheticContrastTrainingLib.montage import save_montage
from SyntheticContrastTrainingLib.recipes import Recipe

LOG, RECIPE = "log.jsonl", "recipe.json"


@dataclass(frozen=True)
class Schedule:
    """How often a run reports and saves, in steps."""

    log_every: int = 10
    montage_every: int = 200
    save_every: int = 100


def build_generator(recipe: Recipe) -> Generator:
    return Generator(gf=recipe.gf, depth=recipe.depth, norm=recipe.norm, channels=len(recipe.windows))  # type: ignore[arg-type]


class Trainer:
    """A run: its networks, its optimiser and the step it has reached."""

    def __init__(self, recipe: Recipe, stacks: Stacks, data: dict[str, Any], device: str = "cpu") -> None:
        self.recipe = recipe
        self.stacks = stacks
        self.data = data
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.generator = build_generator(recipe).to(self.device)
        self.ema = build_generator(recipe).to(self.device).requires_grad_(False)
        self.ema.load_state_dict(self.generator.state_dict())
        self.optimiser = torch.optim.Adam(
            self.generator.parameters(), lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2)
        )
        self.step = 0
        self.seconds = 0.0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was saved.

        Raises:
            InputError: if it was made with another recipe or on other data.
        """
        if checkpoint.recipe != self.recipe:
            raise InputError("the run was started with another recipe: resume it with the same settings")
        if checkpoint.data != self.data:
            raise InputError("the run was started on other data: resume it with the same --data")
        self.generator.load_state_dict(checkpoint.generator)
        self.ema.load_state_dict(checkpoint.ema)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        torch.set_rng_state(checkpoint.torch_rng)
        self.step, self.seconds = checkpoint.step, checkpoint.seconds

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self.step,
            recipe=self.recipe,
            generator=self.generator.state_dict(),
            ema=self.ema.state_dict(),
            optimiser=self.optimiser.state_dict(),
            torch_rng=torch.get_rng_state(),
            data=self.data,
            seconds=self.seconds,
        )

    def train_step(self) -> float:
        """One optimiser step on the data of this step; returns its loss.

        Raises:
            InputError: if the loss is no number; the networks are then as they were.
        """
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, self.step)
        crop = recipe.crop if self.step < recipe.steps else recipe.final_crop
        first = self.step * recipe.batch_size
        stacks = [
            self.stacks.draw(recipe.seed, first + place, crop, recipe.max_shift) for place in range(recipe.batch_size)
        ]
        source, target, weight = self.tensors(stacks)

        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            output = self.generator(source)
        loss = weighted_l1(output.float(), target, weight)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} at step {self.step}: the last checkpoint is kept; "
                "start again from it with a lower learning_rate or precision=fp32"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self.update_ema()
        return value

    def tensors(self, stacks: list[Pair]) -> tuple[Tensor, Tensor, Tensor]:
        """Input and target (N, C, Z, Y, X) in [-1, 1], and the weight of each voxel (N, 1, Z, Y, X)."""
        windows = self.recipe.windows
        ncct = np.stack([stack.ncct for stack in stacks])
        cect = np.stack([stack.cect for stack in stacks])
        source, target = (
            torch.from_numpy(to_windows(hu, windows)).transpose(0, 1).contiguous().to(self.device)
            for hu in (ncct, cect)
        )
        change = torch.from_numpy((cect.astype(np.float32) - ncct)[:, None]).to(self.device)
        return source, target, enhancement_weights(change, self.recipe.enhancement_hu, self.recipe.enhancement_weight)

    @torch.no_grad()
    def update_ema(self) -> None:
        # Shorter memory at first, so that the average does not drag the random start along.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    @torch.no_grad()
    def synthesise(self, ncct: NDArray[np.int16]) -> NDArray[np.float32]:
        """The averaged model's output for one stack of whole slices, (depth, Y, X) HU to the same."""
        y, x = ncct.shape[1:]
        pad_y, pad_x = -y % IN_PLANE_MULTIPLE, -x % IN_PLANE_MULTIPLE
        padded = np.pad(ncct, ((0, 0), (0, pad_y), (0, pad_x)), constant_values=AIR_HU)
        source = torch.from_numpy(to_windows(padded, self.recipe.windows))[None].to(self.device)
        output = self.ema(source)[0, 0, :, :y, :x].float().cpu().numpy()
        return from_window(output, self.recipe.windows[0])

    def draw_montage(self, path: Path) -> None:
        """The middle stack of each of the first four volumes."""
        rows = []
        for pair in self.stacks.pairs[:4]:
            z = (len(pair.cect) - self.stacks.depth) // 2
            ncct, cect = (np.asarray(volume[z : z + self.stacks.depth]) for volume in (pair.ncct, pair.cect))
            middle = self.stacks.depth // 2
            rows.append((ncct[middle], self.synthesise(ncct)[middle], cect[middle]))
        save_montage(path, rows, f"step {self.step} of {self.recipe.total_steps}; synthetic - not for diagnosis")


def train(trainer: Trainer, output: Path, schedule: Schedule, tell: Callable[[str], None]) -> None:
    """Train to the last step of the recipe.

    Raises:
        Cancelled: when SIGINT or SIGTERM came; a checkpoint was saved.
        InputError: when the loss is no number; the last checkpoint is kept.
    """
    total = trainer.recipe.total_steps
    losses: list[float] = []
    with stop_on_signal() as stop, (output / LOG).open("a", encoding="utf-8") as log:
        pace = Pace(trainer.recipe)
        while trainer.step < total and not stop():
            started = time.monotonic()
            losses.append(trainer.train_step())
            taken = time.monotonic() - started
            trainer.seconds += taken
            pace.add(trainer.step - 1, taken)

            done = trainer.step
            if done % schedule.log_every == 0 or done == total:
                line = {
                    "step": done,
                    "steps": total,
                    "loss": round(float(np.mean(losses)), 6),
                    "learning_rate": learning_rate(trainer.recipe, done - 1),
                    "seconds": round(trainer.seconds, 1),
                    "seconds_left": round(pace.left(done)),
                }
                losses.clear()
                log.write(json.dumps(line) + "\n")
                log.flush()
                tell(f"step {done}/{total}  loss {line['loss']:.4f}  {line['seconds_left'] / 60:.0f} min left")
            if done % schedule.montage_every == 0 or done == total:
                trainer.draw_montage(output / f"montage_{done:06d}.png")
            if done % schedule.save_every == 0 or done == total:
                trainer.checkpoint().save(output / LAST)
        if trainer.step < total:
            trainer.checkpoint().save(output / LAST)
            raise Cancelled


def start_run(
    recipe: Recipe, stacks: Stacks, data: dict[str, Any], output: Path, resume: bool, device: str = "cpu"
) -> Trainer:
    """A new trainer in the folder `output`, or the one that was at work there.

    Raises:
        InputError: if `output` holds a run already and `resume` is not asked for, or the other way round.
    """
    trainer = Trainer(recipe, stacks, data, device)
    if resume:
        checkpoint = load_checkpoint(output / LAST)
        trainer.restore(checkpoint)
        keep_log_up_to(output / LOG, checkpoint.step)
        return trainer
    if (output / LAST).exists() or (output / LOG).exists():
        raise InputError(f"{output} holds a run already: continue it with --resume, or give another --output")
    output.mkdir(parents=True, exist_ok=True)
    with atomic_file(output / RECIPE) as temporary:
        temporary.write_text(recipe.to_json(), encoding="utf-8")
    return trainer


def learning_rate(recipe: Recipe, step: int) -> float:
    """Along a half cosine, from `learning_rate` at step 0 to `final_learning_rate` at the last one."""
    part = step / max(1, recipe.total_steps - 1)
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * (
        0.5 + 0.5 * math.cos(math.pi * part)
    )


class Pace:
    """Time left, from the time that steps of either crop took; a step costs in proportion to its area."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.seconds_per_pixel = 0.0

    def area(self, step: int) -> int:
        return (self.recipe.crop if step < self.recipe.steps else self.recipe.final_crop) ** 2

    def add(self, step: int, seconds: float) -> None:
        now = seconds / self.area(step)
        self.seconds_per_pixel = now if not self.seconds_per_pixel else 0.95 * self.seconds_per_pixel + 0.05 * now

    def left(self, step: int) -> float:
        early = max(0, self.recipe.steps - step)
        late = self.recipe.total_steps - step - early
        return self.seconds_per_pixel * (early * self.recipe.crop**2 + late * self.recipe.final_crop**2)


def keep_log_up_to(path: Path, step: int) -> None:
    """Drop the lines that a killed run wrote after its last checkpoint."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # cut off in the middle
    with atomic_file(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


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
