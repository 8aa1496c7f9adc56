"""Configurations: their names, flags and seeds, and which of them share batches."""

from pathlib import Path

import pytest

import args
from helpers.commands import carried_out as carried_out_alone
from helpers.studies import carried_out, job_of
from studies import cells, tables
from studies.cells import Series
from studies.ledger import DONE
from toolbox.errors import UsageError

BASE = {"dataset": "synth", "short-run": "true", "batch-size": "16", "grad-clip": "0"}


def test_the_name_depends_on_what_is_trained_not_on_where_or_how_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(**other: str) -> set[str]:
        return {cells.configuration(base | {key.replace("_", "-"): value}).name for key, value in other.items()}

    base = {"dataset": "table", "data-file": str(tmp_path / "a.csv")}
    first = cells.configuration(base).name
    monkeypatch.chdir(tmp_path)
    same = names(data_file="a.csv", device="cpu", lr="5e-3", wd="0.010", batch_size="128", seed="42")
    assert same == {first}
    assert cells.configuration(base | {"data-file": "a.csv"}).given["data_file"] == str(tmp_path / "a.csv")
    others = names(data_file="b.csv", lr="6e-3", epochs="3", short_run="true", model_name="cnn1d_3", seed="7")
    assert len({first, *others}) == 7


def test_names_stay_so_that_studies_of_earlier_versions_go_on() -> None:
    cells_of = ({"dataset": "synth"}, {"dataset": "synth", "lr": "0.005", "model-name": "cnn1d_3"})
    assert [cells.configuration(cell).name for cell in cells_of] == ["c808b8b5", "882207f8"]
    short = {"dataset": "synth", "model-name": "cnn1d_3", "epochs": "1", "short-run": "true"}
    names = [cells.configuration(short | {"mixed-precision": value}).name for value in ("false", "true")]
    assert names == ["a0306d55", "346e4550"]


def test_a_configuration_without_any_of_the_axes_says_so() -> None:
    assert cells.differing({"epochs": "1"}, ["lr", "normalise"]) == "without lr, normalise"
    assert cells.differing({"epochs": "1"}, []) == "the only one"


def test_parts_of_a_flag_are_put_together_and_switches_are_typed_alone() -> None:
    cell = {"augment.noise": "1", "lr": "0.1", "augment.shift": "2-3", "short-run": "true", "calibrate": "false"}
    assert cells.typed(cell) == ["--augment=noise=1,shift=2-3", "--lr=0.1", "--short-run"]


@pytest.mark.parametrize(("value", "word"), [("true", "bfloat16"), ("false", "float32"), ("auto", "auto")])
def test_a_switch_that_became_a_word_is_typed_as_a_word(value: str, word: str) -> None:
    assert cells.configuration({"dataset": "synth", "mixed-precision": value}).given["precision"] == word


def test_all_training_rows_are_one_configuration_however_they_are_typed() -> None:
    found = [cells.configuration(BASE | part) for part in ({}, {"label-fraction": "1"}, {"label-fraction": "0.5"})]
    assert found[0].name == found[1].name != found[2].name
    assert found[0].settled() == found[1].settled()


def test_data_that_are_kept_for_the_next_run_have_its_part_of_the_training_rows(tmp_path: Path) -> None:
    load = cells.Memo()

    def rows(part: float | None) -> int:
        return len(load(args.resolve({"dataset": "synth", "root_dir": str(tmp_path), "label_fraction": part})).train)

    assert rows(0.5) < rows(None) == rows(1.0)


def test_a_repetition_has_the_same_seed_in_every_configuration() -> None:
    found = cells.configurations([BASE | {"lr": "0.001"}, BASE | {"lr": "0.005"}])
    jobs = Series(reps=2).jobs(found, None)
    assert [(job.rep, job.given["seed"]) for job in jobs] == [(0, 42), (0, 42), (1, 43), (1, 43)]
    assert len({job.key for job in jobs}) == 4


def test_another_val_fold_cannot_be_combined_with_folds() -> None:
    with pytest.raises(UsageError, match="--val-fold cannot be combined with folds"):
        cells.configuration({"dataset": "synth", "val-fold": "1/3"}, Series(folds=3))


def test_configurations_are_branches_if_their_rows_and_batches_are_the_same() -> None:
    alike = [{"lr": "0.1"}, {"model-name": "cnn1d_3"}, {"criterion": "focal"}, {"epochs": "9"}, {"augment": "noise"}]
    other = [{"batch-size": "8"}, {"sampler": "equal"}, {"val-fraction": "0.2"}, {"dataset": "ecg"},
             {"label-fraction": "0.5"}]  # fmt: skip
    jobs = [job_of(BASE | cell) for pair in zip(alike, other, strict=True) for cell in pair]
    found = cells.groups(jobs, 3)
    assert [len(group) for group in found] == [3, 2, 1, 1, 1, 1, 1]
    assert [job.flags for group in found[:2] for job in group] == [BASE | cell for cell in alike]
    assert cells.groups(jobs, 1) == [(job,) for job in jobs]
    assert len(cells.groups([jobs[0], job_of(BASE | {"deterministic": "true"})], 2)) == 2
    again = job_of(BASE | alike[0], 1)
    assert len(cells.groups([jobs[0], again], 2)) == 2  # another seed, another split


def test_a_study_of_probes_knows_its_runs_and_does_not_start_them_again(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = carried_out_alone("--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir", closed, "--short-run",
                              "--epochs", 1, "--no-figures")  # fmt: skip
    assert first.code == 0, first.err
    text = """
base: {dataset: synth, model-name: cnn1d_3, short-run: true, pretrained: synth_cnn1d_3_1}
grid: [{cross: {train: [probe], label-fraction: [0.5, 1]}}, {cross: {train: [head], epochs: [1]}}]
"""
    for _ in range(2):
        code, ledger = carried_out(closed, monkeypatch, text)
        assert code == 0
    found = tables.rows(ledger)
    assert [(row["state"], row["train"]) for row in found] == [(DONE, "probe"), (DONE, "probe"), (DONE, "head")]
    assert all(row["val/macro_f1"] for row in found)
    assert len({row["val/macro_f1"] for row in found}) == 3
    assert len(list((closed / "synth/runs").iterdir())) == 4
