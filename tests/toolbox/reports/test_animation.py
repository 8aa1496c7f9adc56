"""Confusion matrices of a run as moving pictures: every epoch or 60 of them, the last held, train beside validation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.pages import Page
from toolbox.errors import CheckpointError
from toolbox.reports import animation

LONG = ("Normal sinus rhythm", "Atrial fibrillation with a rapid ventricular response", "Supraventricular tachycardia")


def save_page(rows: list[dict[str, Any]], classes: Any, path: Path, *, title: str) -> None:
    animation.save_confusion_page(rows, classes, path, title=title, library=path.parent)


both = pytest.mark.parametrize("save", [animation.save_confusion_video, save_page])


def matrix(epoch: int, classes: int) -> list[list[int]]:
    return (np.ones((classes, classes), int) + 10 * epoch * np.eye(classes, dtype=int)).tolist()


def history(epochs: int, classes: int = 3, *, lacking: int = 0) -> list[dict[str, Any]]:
    """As logger.json has it; the first `lacking` rows have no matrix of train."""
    splits = [{"train": matrix(i, classes), "val": matrix(i + 1, classes)} for i in range(1, epochs + 1)]
    for split in splits[:lacking]:
        del split["train"]
    named = [{part: {"confusion_matrix": of} for part, of in split.items()} for split in splits]
    return [{"epoch": i, "train": {}, **row} for i, row in enumerate(named, 1)]


@pytest.mark.parametrize(("epochs", "classes"), [(1, 2), (3, 4)])
def test_a_gif_has_a_frame_for_each_epoch_and_holds_the_last(tmp_path: Path, epochs: int, classes: int) -> None:
    names, frames = [LONG[k % 3] for k in range(classes)], []
    animation.save_confusion_video(history(epochs, classes), names, tmp_path / "run.gif", title="a run")
    with Image.open(tmp_path / "run.gif") as image:
        for i in range(image.n_frames):
            image.seek(i)
            frames.append((image.info["duration"], np.array(image.convert("RGB"))))
    assert frames[-1][0] == animation.LAST_MS
    assert all(ms < animation.LAST_MS for ms, _ in frames[:-1])
    assert len({picture.shape for _, picture in frames}) == 1
    assert len({picture.tobytes() for _, picture in frames}) == len(frames) == epochs
    assert [path.name for path in tmp_path.iterdir()] == ["run.gif"]


@pytest.mark.parametrize("epochs", [1, 59, 60, 61, 200])
def test_of_many_epochs_sixty_are_shown_evenly_with_the_first_and_the_last(epochs: int) -> None:
    shown = [row["epoch"] for row in animation.chosen(history(epochs, 2))]
    assert len(shown) == min(epochs, animation.FRAMES)
    assert (shown[0], shown[-1]) == (1, epochs)
    assert set(np.diff(shown)) <= {epochs // animation.FRAMES, epochs // animation.FRAMES + 1}


def test_a_frame_shows_shares_of_the_true_class_with_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, draw = [], animation.plots.ConfusionImage.show

    def watched(image: Any, values: np.ndarray) -> None:
        draw(image, values)
        texts = [text.get_text() for text in image.texts]
        drawn.append((image.axes.get_title(), image.axes.figure.get_suptitle(), texts))

    monkeypatch.setattr(animation.plots.ConfusionImage, "show", watched)
    list(animation.frames(history(2), "NSV", title="a run"))
    headings = [(part, f"a run, epoch {epoch} of 2") for epoch in (1, 2) for part in ("train", "validation")]
    assert [(part, heading) for part, heading, _ in drawn] == headings
    assert drawn[0][2] == ["84.6%", "7.7%", "7.7%", "7.7%", "84.6%", "7.7%", "7.7%", "7.7%", "84.6%"]


def test_train_is_empty_where_a_row_lacks_it_and_left_out_where_all_do() -> None:
    parts = animation.matrices(history(3, lacking=2), "NSV")
    assert list(parts) == ["train", "validation"]
    assert np.isnan(parts["train"][:2]).all()
    assert parts["train"][2].tolist() == matrix(3, 3)
    assert list(animation.matrices(history(3, lacking=3), "NSV")) == ["validation"]


@both
def test_histories_without_matrices_of_train_are_drawn(tmp_path: Path, save: Callable[..., None]) -> None:
    for lacking in (1, 2):
        save(history(2, lacking=lacking), LONG, tmp_path / f"{lacking}.out.gif", title="a run")
        assert (tmp_path / f"{lacking}.out.gif").stat().st_size > 1000


@both
def test_a_history_that_cannot_be_drawn_is_named_and_leaves_no_file(tmp_path: Path, save: Callable[..., None]) -> None:
    no_matrix = [{"epoch": 1, "train": {}, "val": {}}]
    for rows, what in (([], "no epoch"), (no_matrix, "no epoch"), (history(1, classes=2), "not one of 3 classes")):
        with pytest.raises(CheckpointError, match=what):
            save(rows, "NSV", tmp_path / "run.gif", title="")
        assert not list(tmp_path.iterdir())


def test_a_failure_midway_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.gif"
    path.write_bytes(b"before")
    calls = iter([animation.plots.ConfusionImage.show] * 3)
    monkeypatch.setattr(animation.plots.ConfusionImage, "show", lambda *given: next(calls)(*given))
    with pytest.raises((StopIteration, RuntimeError)):
        animation.save_confusion_video(history(3), "NSV", path, title="")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("run.gif", b"before")]


def test_the_page_has_a_step_for_each_epoch_and_reads_without_a_network(tmp_path: Path) -> None:
    animation.save_confusion_page(history(4), LONG, tmp_path / "run.html", title="a run", library=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plotly.min.js", "run.html"]
    assert Page(tmp_path / "run.html").loaded == ["plotly.min.js"]
    text = (tmp_path / "run.html").read_text()
    steps = [f'"{key}":"{epoch}"' for key in ("label", "name") for epoch in range(1, 5)]
    assert all(part in text for part in (*steps, '"label":"play"', "Atrial"))
