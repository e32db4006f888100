"""Case after case: a broken one is told, passed over and named at the end; the others go on.

Several processes share the cases (see `tasks.own_share`) without a word between them, but for `wait_for_others`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from SyntheticContrastLib.synthesis.process import (
    BAD_INPUT,
    DONE,
    INTERNAL_ERROR,
    OUT_OF_MEMORY,
    check_cancelled,
    explain,
)
from SyntheticContrastLib.synthesis.progress import Reporter, clock

POLL_SECONDS = 0.5


def run_cases(
    entry: str,
    cases: Sequence[str],
    work: Callable[[int], bool],
    report: Reporter,
    on_failure: Callable[[int, str], None] = lambda index, line: None,
) -> int:
    """Do `work(index)` for each of the `cases`, which are names; returns the exit status.

    The time left is that of the cases before, without those that were skipped.

    Args:
        entry: the script's name, for the lines on stderr.
        work: returns False for a case that was finished by an earlier run.
        on_failure: told of a case that raised, with the one line about it.
    """
    statuses: list[int] = []
    failed: list[str] = []
    worked, seconds = 0, 0.0
    for index, case in enumerate(cases):
        check_cancelled()
        left = seconds / worked * (len(cases) - index) if worked else None
        ahead = f", {clock(left)} left" if left is not None else ""
        report.event(
            "case",
            f"{case} ({index + 1} of {len(cases)}{ahead})",
            case=case,
            number=index + 1,
            cases=len(cases),
            seconds_left=None if left is None else round(left, 1),
        )
        started = time.monotonic()
        try:
            skipped = not work(index)
            statuses.append(DONE)
        except Exception as error:
            status, line = explain(error)
            skipped = False
            report.event("failed", case=case, status=status, message=line)
            print(f"{entry}: {case}: {line}", file=sys.stderr, flush=True)
            statuses.append(status)
            failed.append(case)
            on_failure(index, line)
        if not skipped:
            worked, seconds = worked + 1, seconds + time.monotonic() - started
    if failed:
        names = ", ".join(failed)
        print(f"{entry}: {len(failed)} of {len(cases)} cases failed, the others are done: {names}", file=sys.stderr)
    return next((status for status in (INTERNAL_ERROR, OUT_OF_MEMORY, BAD_INPUT) if status in statuses), DONE)


def wait_for_others() -> None:
    """Until all processes of a torchrun have come here; at once without torchrun.

    torchrun ends all its processes when one ends with a failure, and a broken case is one.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    from torch.distributed import rendezvous

    store, _, _ = next(rendezvous("env://"))
    key = f"cases_done_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    arrived = store.add(key, 1)
    while arrived < size:
        check_cancelled()
        time.sleep(POLL_SECONDS)
        arrived = store.add(key, 0)
