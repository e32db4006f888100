"""Free-response readings: the FROC curve and the (w)AFROC figures of merit (Chakraborty 2011; JAFROC in Choi 2021).

A reader marks what looks like a lesion and rates each mark, higher for more certain. A mark is a lesion's or a false
one; a lesion without a mark rates minus infinity, and so does the highest false mark of a case that has none. With
psi(a, b) = 1 if a < b, 1/2 if a = b, else 0, and false = the highest false mark of a case:

- AFROC: the mean of psi(false of a normal case, lesion) over all normal cases and all lesions.
- wAFROC: the same with the lesions of a case weighted to one case first; equal weights if none are given.
- AFROC1, wAFROC1: with the false marks of all cases, normal or not. Where every case has a lesion, as in test set 2 of
  Choi 2021, these are the only ones there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError

UNMARKED = -math.inf

FigureOfMerit = Literal["AFROC", "wAFROC", "AFROC1", "wAFROC1"]


@dataclass(frozen=True)
class CaseReading:
    """What one reader saw in one case with one modality.

    lesions: the highest rating of each lesion, `UNMARKED` for one that was missed; none for a normal case.
    false_marks: the ratings of the marks beside every lesion.
    weights: one a lesion, sum 1; equal if empty.

    Raises:
        InputError: a rating that is no number (a false mark that is not finite), or weights that do not fit.
    """

    lesions: tuple[float, ...] = ()
    false_marks: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if any(math.isnan(rating) or rating == math.inf for rating in self.lesions):
            raise InputError("the rating of a lesion is a number, or minus infinity where it was not marked")
        if not all(math.isfinite(rating) for rating in self.false_marks):
            raise InputError("the rating of a false mark is a finite number")
        if self.weights and (
            len(self.weights) != len(self.lesions)
            or min(self.weights) < 0
            or not math.isclose(sum(self.weights), 1, abs_tol=1e-6)
        ):
            raise InputError("the weights of a case are one for each lesion, none below 0, and their sum is 1")

    @property
    def highest_false(self) -> float:
        return max(self.false_marks, default=UNMARKED)


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """Operating points from the strictest threshold to the laxest, after the point (0, 0) of an infinite one."""

    thresholds: NDArray[np.float64]  # (N,): marks rated at least this count
    false_per_case: NDArray[np.float64]  # (N,): NLF
    lesions_found: NDArray[np.float64]  # (N,): LLF, share of all lesions


def froc_curve(cases: Sequence[CaseReading]) -> FrocCurve:
    """Of one reader and modality. Raises InputError where there is no case or no lesion at all."""
    lesions = np.array([rating for case in cases for rating in case.lesions])
    false = np.array([rating for case in cases for rating in case.false_marks])
    if not lesions.size:
        raise InputError("a FROC curve needs lesions: none of the cases has one")
    rated = np.unique(np.concatenate([lesions[np.isfinite(lesions)], false]))[::-1]
    thresholds = np.concatenate([[math.inf], rated])
    return FrocCurve(
        thresholds,
        np.array([np.count_nonzero(false >= threshold) for threshold in thresholds]) / len(cases),
        np.array([np.count_nonzero(lesions >= threshold) for threshold in thresholds]) / lesions.size,
    )


def figure_of_merit(cases: Sequence[CaseReading], kind: FigureOfMerit = "wAFROC1") -> float:
    """In [0, 1], of one reader and modality; see the head of this file.

    Raises:
        InputError: no case has a lesion; or no case is normal, and `kind` is not one of the "1" variants.
    """
    abnormal = [case for case in cases if case.lesions]
    if not abnormal:
        raise InputError(f"{kind} needs lesions: none of the cases has one")
    compared = [case for case in cases if kind.endswith("1") or not case.lesions]
    if not compared:
        raise InputError(f"{kind} needs normal cases and every case has a lesion: use {kind}1")
    false = np.array([case.highest_false for case in compared])
    lesions = np.array([rating for case in abnormal for rating in case.lesions])
    if kind.startswith("w"):
        weights = np.concatenate(
            [case.weights or np.full(len(case.lesions), 1 / len(case.lesions)) for case in abnormal]
        )
        weights = weights / len(abnormal)
    else:
        weights = np.full(lesions.size, 1 / lesions.size)
    psi = np.where(false[:, None] < lesions, 1.0, np.where(false[:, None] == lesions, 0.5, 0.0))
    return float((psi @ weights).mean())
