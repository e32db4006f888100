"""What a recipe means on a training set: steps, epochs, learning rates, and the split by patients."""

import dataclasses

import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.plan import Plan
from SyntheticContrastTrainingLib.recipes import Recipe, find_recipe, override
from SyntheticContrastTrainingLib.split import split_patients

PATIENTS = [f"patient{number:02d}" for number in range(25)]


def choi(**changes):
    return dataclasses.replace(find_recipe("choi2021"), **changes)


def test_the_paper_takes_20_epochs_of_every_stack():
    plan = Plan(choi(), stacks=3000)
    assert plan.total_steps == 60000
    assert [plan.epoch(step) for step in (0, 2999, 3000, 59999)] == [0, 0, 1, 19]


@pytest.mark.parametrize(("batch", "steps"), [(1, 20), (2, 10), (3, 7), (4, 5), (7, 3)])
def test_a_batch_takes_several_stacks_a_step(batch, steps):
    plan = Plan(choi(epochs=2, batch_size=batch), stacks=10)
    assert plan.total_steps == steps
    assert plan.epoch(steps - 1) == 1


def test_the_last_steps_see_whole_slices():
    plan = Plan(Recipe("test", steps=3, crop=256, final_steps=2, final_crop=512), stacks=10)
    assert [plan.crop(step) for step in range(plan.total_steps)] == [256, 256, 256, 512, 512]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", {0: 2e-4, 10: 2e-4, 19: 2e-4}),
        ("step", {0: 2e-4, 9: 2e-4, 10: 2e-5, 19: 2e-5}),
        ("inverse", {0: 2e-4, 9: 2e-4, 10: 2e-4, 11: 2e-4 / 1.1, 19: 2e-4 / 1.9}),
        ("cosine", {0: 2e-4, 19: 0.0}),
    ],
)
def test_learning_rates_by_epoch(schedule, rates):
    plan = Plan(choi(schedule=schedule), stacks=5)
    found = {epoch: plan.learning_rate(5 * epoch + 4 if epoch else 0) for epoch in rates}
    assert found == pytest.approx(rates)
    every = [plan.learning_rate(step) for step in range(plan.total_steps)]
    assert every == sorted(every, reverse=True)


def test_the_code_and_the_paper_fall_differently():
    paper, code = (Plan(find_recipe(name), stacks=1) for name in ("choi2021", "choi2021-code"))
    assert paper.learning_rate(10) == pytest.approx(2e-5)
    assert code.learning_rate(10) == pytest.approx(2e-4)
    assert code.learning_rate(19) == pytest.approx(2e-4 / 1.9)


def test_cases_of_one_patient_stay_together():
    cases = {f"{patient}-{series}": patient for patient in PATIENTS for series in "abc"}
    for seed in range(10):
        split = split_patients(list(cases), choi(seed=seed), patient_of=cases)
        assert sorted(split.training + split.validation) == sorted(cases) and split.patients == 25
        assert not {cases[case] for case in split.training} & {cases[case] for case in split.validation}
        assert len(split.validation) == 3 * 3  # a tenth of 25 patients, rounded half up


@pytest.mark.parametrize("name", ["case_{}", "case_{:02}", "{}", "s{}_1"])
def test_without_a_patient_a_case_is_one_of_its_own_whatever_its_name(name):
    cases = [name.format(number) for number in range(1, 21)]
    split = split_patients(cases, choi())
    assert split.patients == 20 and len(split.training) == 18 and len(split.validation) == 2
    given = {case: "validation" if case == cases[3] else "training" for case in cases}
    assert split_patients(cases, choi(), given).validation == (cases[3],)
    assert split_patients(cases, choi(validation=(cases[3],))).validation == (cases[3],)


def test_a_named_patient_is_none_of_the_cases_without_one():
    split = split_patients(["a", "b", "c"], choi(validation=("a",)), patient_of={"b": "a", "c": "A"})
    assert split.patients == 2 and split.training == ("b", "c")  # A and a are the same name


def test_the_seed_decides_the_split_and_the_order_of_cases_does_not():
    splits = [set(split_patients(PATIENTS, choi(seed=seed)).validation) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert set(split_patients(PATIENTS[::-1], choi(seed=0)).validation) == splits[0]


@pytest.mark.parametrize(("patients", "count"), [(1, 0), (4, 0), (5, 1), (14, 1), (15, 2)])
def test_few_patients_all_train(patients, count):
    assert len(split_patients(PATIENTS[:patients], choi()).validation) == count


PATIENT_OF = {"b_1": "b", "b_2": "b"}


def test_a_given_split():
    recipe = override(choi(), {"validation": ["b_2"]})
    split = split_patients(["a", "b_1", "b_2", "c"], recipe, patient_of=PATIENT_OF)
    assert split.validation == ("b_1", "b_2")
    assert split.training == ("a", "c")
    with pytest.raises(InputError, match="b_2 is no case"):
        split_patients(["a", "c"], recipe)
    with pytest.raises(InputError, match="none is left"):
        split_patients(["b_1", "b_2"], recipe, patient_of=PATIENT_OF)


def test_a_split_that_the_table_gives():
    cases = ["a", "b_1", "b_2", "c"]
    given = {"a": None, "b_1": "validation", "b_2": None, "c": "training"}
    split = split_patients(cases, choi(), given, PATIENT_OF)
    assert split.training == ("a", "c")
    assert split.validation == ("b_1", "b_2")  # all of a patient
    assert split_patients(cases, choi(validation=("a",)), {"c": "validation"}).validation == ("a",)
    with pytest.raises(InputError, match="b_2 in training and b_1 in validation are of one patient"):
        split_patients(cases, choi(), {"b_1": "validation", "b_2": "training"}, PATIENT_OF)


def test_the_rate_warms_up():
    recipe = Recipe("l1", steps=100, learning_rate=1e-3, warm_up=4)
    rates = [Plan(recipe, 10).learning_rate(step) for step in (0, 1, 3, 4, 99)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-3, 1e-3])
