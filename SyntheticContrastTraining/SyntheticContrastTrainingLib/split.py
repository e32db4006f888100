"""Which patients a model is trained on, and which only validate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.recipes import Recipe


@dataclass(frozen=True)
class Split:
    """Case ids, in the order of the training set. No patient is in both."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    patients: int = 0  # in both together


def split_patients(
    case_ids: Sequence[str],
    recipe: Recipe,
    given: Mapping[str, str | None] | None = None,
    patient_of: Mapping[str, str | None] | None = None,
) -> Split:
    """The cases in `recipe.validation`, else as `given`, else `recipe.validation_fraction` drawn by the seed.

    `given` holds "training", "validation" or None by case id, `patient_of` the patient or None, as cases.csv says them.
    A case without a patient is a patient of its own, whatever its name. All cases of a patient go the same way.

    The share is rounded half up, so a tenth of fewer than five patients is none: then no patient validates. The split
    depends on the set of patients, not on their order.

    Raises:
        InputError: when `recipe.validation` names a case that is not there, cases of one patient are given to both, or
            none is left to train on.
    """
    if missing := sorted(set(recipe.validation) - set(case_ids)):
        raise InputError(f"validation: {missing[0]} is no case of the training set")
    patient = {case_id: patient_key(case_id, (patient_of or {}).get(case_id)) for case_id in case_ids}
    patients = sorted(set(patient.values()))
    given = {case_id: split for case_id, split in (given or {}).items() if split}
    if recipe.validation:
        held_out = {patient[case_id] for case_id in recipe.validation}
    elif given:
        held_out = {patient[case_id] for case_id, split in given.items() if split == "validation"}
        for case_id, split in given.items():
            if split == "training" and patient[case_id] in held_out:
                other = next(one for one in given if given[one] == "validation" and patient[one] == patient[case_id])
                raise InputError(f"split: {case_id} in training and {other} in validation are of one patient")
    else:
        count = int(recipe.validation_fraction * len(patients) + 0.5)
        order = np.random.default_rng(recipe.seed).permutation(len(patients))
        held_out = {patients[number] for number in order[:count]}
    if held_out == set(patients):
        raise InputError("validation takes every patient: none is left to train on")
    return Split(
        tuple(case_id for case_id in case_ids if patient[case_id] not in held_out),
        tuple(case_id for case_id in case_ids if patient[case_id] in held_out),
        len(patients),
    )


def patient_key(case_id: str, patient: str | None) -> tuple[str, str]:
    """What tells patients apart: a case of its own is none of the column's, though the names be equal."""
    return ("patient", patient.casefold()) if patient else ("case", case_id)
