"""Pictures of a dataset (--explore) and of how a run learned (--confusion-video), as their users ask for them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers.commands import SHORT, assert_error, bound_by_permissions, carried_out, commander, finish, launch
from helpers.detection import kaggle
from helpers.pages import Page

EXPLORED = {f"{name}.{kind}" for name in ("classes", "examples", "mean") for kind in ("png", "html")}
EXPLORED |= {"index.html", "augmentations.png", "plotly.min.js", ".ecg-commander"}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_page(path: Path) -> None:
    """It loads nothing but what lies beside it and is there."""
    assert all((path.parent / name).is_file() for name in Page(path).loaded if not name.startswith("data:"))


def test_a_dataset_is_drawn_the_pages_path_is_all_of_stdout_and_nothing_else_is_made(root: Path) -> None:
    ended = commander("--dataset", "synth", "--explore", "--root-dir", root)
    assert ended.code == 0, ended.err
    page = root / "synth" / "explore" / "index.html"
    assert ended.out == f"{page}\n"
    assert files(page.parent) == EXPLORED
    assert (files(root), files(root / "synth")) == ({"synth"}, {"cache", "explore"})
    assert_page(page)
    text = page.read_text()
    assert all(words in text for words in ("validation is 0.1 of train", "the test rows are not opened"))
    before = page.read_bytes()
    assert carried_out("--dataset", "synth", "--explore", "--root-dir", root).code == 0
    assert page.read_bytes() == before


def test_the_test_file_stays_closed_while_the_rest_is_drawn(root: Path, tmp_path: Path) -> None:
    folder = kaggle(tmp_path / "kaggle Ä", test=b"0.5,0.5\n")
    ended = carried_out(
        "--explore", "--data-file", folder, "--task", "detect", "--normal-class", "V", "--root-dir", root
    )
    assert ended.code == 0, ended.err
    page = Path(ended.out.strip())
    assert page == root / "ecg" / "explore" / "index.html"
    assert "trained and validated on V alone" in page.read_text()
    assert_error(
        carried_out("--explore", "--download", "--data-file", folder, "--root-dir", root), 3, "mitbih_test.csv, line 1"
    )


@pytest.mark.parametrize("rate_hz", [None, 125.0], ids=["no rate", "a rate"])
def test_a_table_of_few_rows_and_no_labels_is_drawn(root: Path, tmp_path: Path, rate_hz: float | None) -> None:
    rows, how = np.random.default_rng(0).normal(size=(6, 2, 40)), {} if rate_hz is None else {"rate_hz": rate_hz}
    np.savez(tmp_path / "my.npz", x=rows, **how)
    flags = ("--dataset", "table", "--data-file", tmp_path / "my.npz", "--val-fraction", "0.3")
    ended = carried_out(*flags, "--explore", "--root-dir", root)
    assert ended.code == 0, ended.err
    assert files(Path(ended.out.strip()).parent) == EXPLORED
    assert "unlabelled" in Path(ended.out.strip()).read_text()


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (("--dataset", "synht"), 2, "synth"),
        (("--dataset", "synth", "--normal-class", "V"), 2, "--task detect"),
        (("--dataset", "table"), 2, "--data-file"),
        (("--dataset", "table", "--data-file", "no.npz"), 3, "no.npz"),
        (("--dataset", "ecg"), 7, "--data-file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_drawn_is_one_line_and_makes_no_picture(root: Path, flags: tuple, code: int, says: str) -> None:
    ended = carried_out(*flags, "--explore", "--root-dir", root)
    assert_error(ended, code, says)
    assert ended.out == ""
    assert not list(root.glob("*/explore"))


def test_a_folder_that_cannot_be_written_is_named(root: Path) -> None:
    flags = ("--dataset", "synth", "--explore", "--root-dir", root)
    (root / "synth").chmod(0o555)
    ended = finish(launch(*flags, preexec_fn=bound_by_permissions))
    (root / "synth").chmod(0o755)
    assert_error(ended, 6, str(root / "synth" / "explore"))
    assert files(root / "synth") == {"cache"}
    (root / "synth" / "explore").mkdir(mode=0o555)
    ended = finish(launch(*flags, preexec_fn=bound_by_permissions))
    assert_error(ended, 6, str(root / "synth" / "explore"), "Permission denied")


# How a run learned


def assert_film(folder: Path, epochs: int, run: str) -> None:
    with Image.open(folder / "confusion.gif") as film:
        assert film.n_frames == epochs
    assert_page(folder / "confusion.html")
    assert run in (folder / "confusion.html").read_text()


def test_a_film_of_the_epochs_is_made_also_without_figures_and_later_and_changes_nothing(
    short_run: SimpleNamespace, root: Path
) -> None:
    made = carried_out(*SHORT, "--epochs", "2", "--confusion-video", "--root-dir", root)
    assert made.code == 0, made.err
    run = root / "synth" / "runs" / "synth_cnn1d_3_1"
    tables = {"predictions.csv", "predictions.npz", "metrics.json", "report.txt"}
    assert files(run / "pred") == tables | {"confusion.gif", "confusion.html", "plotly.min.js"}
    assert_film(run / "pred", 2, run.name)
    assert made.result["test"] == short_run.result["test"]

    later = shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_7")
    flags = ("--model-name", "cnn1d_3", "--no-figures", "--test", "--confusion-video", "--root-dir", root)
    ended = carried_out(*flags)
    assert ended.code == 0, ended.err
    assert ended.result == {**short_run.result, "run_folder": str(later)}
    assert_film(later / "pred", 2, later.name)
    assert carried_out(*flags, "--resume", "latest").code == 0
    assert_film(later / "pred" / "latest", 2, later.name)


def test_a_history_that_cannot_be_drawn_is_named_and_the_tables_are_there(
    short_run: SimpleNamespace, root: Path
) -> None:
    run = shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")
    history = json.loads((run / "logger.json").read_text())
    history[0]["val"]["confusion_matrix"] = [[1, 2], [3, 4]]
    (run / "logger.json").write_text(json.dumps(history))
    ended = carried_out("--model-name", "cnn1d_3", "--no-figures", "--test", "--confusion-video", "--root-dir", root)
    assert_error(ended, 4, "a confusion matrix is not one of 5 classes", "logger.json")
    assert (run / "pred" / "report.txt").is_file()


def test_a_run_that_was_trained_without_figures_is_drawn_by_a_test(root: Path, short_run: SimpleNamespace) -> None:
    run = shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")
    shutil.rmtree(run / "pred")
    config = json.loads((run / "config.json").read_text())
    assert "no_figures" not in config["flags"]
    # As it once was.
    (run / "config.json").write_text(json.dumps(config | {"flags": config["flags"] | {"no_figures": True}}))
    ended = carried_out("--model-name", "cnn1d_3", "--root-dir", root, "--test")
    assert ended.code == 0, ended.err
    assert {"confusion_matrix.png", "roc.html", "history.png"} <= files(run / "pred")
