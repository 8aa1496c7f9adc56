"""The confusion matrices of a run as moving pictures: every epoch or 60 of them, the last held, train beside
validation."""

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


def matrix(epoch: int, classes: int) -> list[list[int]]:
    return (np.ones((classes, classes), int) + 10 * epoch * np.eye(classes, dtype=int)).tolist()


def history(epochs: int, classes: int = 3, *, lacking: int = 0) -> list[dict[str, Any]]:
    """As logger.json has it; the first `lacking` rows have no matrix of train."""
    rows = [
        {
            "epoch": i,
            "train": {"confusion_matrix": matrix(i, classes)},
            "val": {"confusion_matrix": matrix(i + 1, classes)},
        }
        for i in range(1, epochs + 1)
    ]
    for row in rows[:lacking]:
        del row["train"]["confusion_matrix"]
    return rows


def frames_of(path: Path) -> list[tuple[int, np.ndarray]]:
    """How long each frame of a GIF is shown, in ms, and what it is."""
    with Image.open(path) as image:
        shown = []
        for i in range(image.n_frames):
            image.seek(i)
            shown.append((image.info["duration"], np.array(image.convert("RGB"))))
    return shown


@pytest.mark.parametrize(("epochs", "classes"), [(1, 2), (4, 3), (3, 10)])
def test_a_gif_has_a_frame_for_each_epoch_and_holds_the_last(tmp_path: Path, epochs: int, classes: int) -> None:
    names = [LONG[k % 3] for k in range(classes)]
    animation.save_confusion_video(history(epochs, classes), names, tmp_path / "run.gif", title="a run")
    frames = frames_of(tmp_path / "run.gif")
    assert len(frames) == epochs
    assert frames[-1][0] == animation.LAST_MS
    assert all(ms < animation.LAST_MS for ms, _ in frames[:-1])
    assert len({picture.shape for _, picture in frames}) == 1
    assert len({picture.tobytes() for _, picture in frames}) == epochs
    assert [path.name for path in tmp_path.iterdir()] == ["run.gif"]


@pytest.mark.parametrize("epochs", [1, 59, 60, 61, 200])
def test_of_many_epochs_sixty_are_shown_evenly_with_the_first_and_the_last(epochs: int) -> None:
    shown = [row["epoch"] for row in animation.chosen(history(epochs, 2))]
    assert len(shown) == min(epochs, animation.FRAMES)
    assert (shown[0], shown[-1]) == (1, epochs)
    assert set(np.diff(shown)) <= {epochs // animation.FRAMES, epochs // animation.FRAMES + 1}


def test_a_frame_shows_shares_of_the_true_class_with_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = animation.plots.ConfusionImage.show

    def watched(image: Any, values: np.ndarray) -> None:
        draw(image, values)
        figure = image.axes.figure
        drawn.append((image.axes.get_title(), figure.get_suptitle(), [text.get_text() for text in image.texts]))

    monkeypatch.setattr(animation.plots.ConfusionImage, "show", watched)
    list(animation.frames(history(2), "NSV", title="a run"))
    assert [(side, heading) for side, heading, _ in drawn] == [
        (side, f"a run, epoch {epoch} of 2") for epoch in (1, 2) for side in ("train", "validation")
    ]
    assert drawn[0][2] == ["84.6%", "7.7%", "7.7%", "7.7%", "84.6%", "7.7%", "7.7%", "7.7%", "84.6%"]


def test_train_is_empty_where_a_row_lacks_it_and_left_out_where_all_do() -> None:
    sides = animation.matrices(history(3, lacking=2), "NSV")
    assert list(sides) == ["train", "validation"]
    assert np.isnan(sides["train"][:2]).all()
    assert sides["train"][2].tolist() == matrix(3, 3)
    assert list(animation.matrices(history(3, lacking=3), "NSV")) == ["validation"]


@pytest.mark.parametrize("save", [animation.save_confusion_video, animation.save_confusion_page])
@pytest.mark.parametrize("lacking", [1, 2])
def test_histories_of_older_runs_are_drawn(tmp_path: Path, save: Callable[..., None], lacking: int) -> None:
    save(history(2, lacking=lacking), LONG, tmp_path / "run.out.gif", title="a run")
    assert (tmp_path / "run.out.gif").stat().st_size > 1000


@pytest.mark.parametrize("save", [animation.save_confusion_video, animation.save_confusion_page])
@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([], "no epoch"),
        ([{"epoch": 1, "train": {}, "val": {}}], "no epoch"),
        (history(1, classes=2), "not one of 3 classes"),
    ],
    ids=["no row", "no matrix", "other classes"],
)
def test_what_cannot_be_drawn_is_named_and_leaves_no_file(
    tmp_path: Path, save: Callable[..., None], rows: list[dict[str, Any]], what: str
) -> None:
    with pytest.raises(CheckpointError, match=what):
        save(rows, "NSV", tmp_path / "run.gif", title="")
    assert not list(tmp_path.iterdir())


def test_a_failure_on_the_way_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.gif"
    path.write_bytes(b"before")
    shown = animation.plots.ConfusionImage.show
    calls = iter([shown] * 3)
    monkeypatch.setattr(animation.plots.ConfusionImage, "show", lambda *given: next(calls)(*given))
    with pytest.raises((StopIteration, RuntimeError)):
        animation.save_confusion_video(history(3), "NSV", path, title="")
    assert path.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["run.gif"]


def test_the_page_has_a_step_for_each_epoch_and_reads_without_a_network(tmp_path: Path) -> None:
    animation.save_confusion_page(history(4), LONG, tmp_path / "run.html", title="a run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plotly.min.js", "run.html"]
    assert Page(tmp_path / "run.html").loaded == ["plotly.min.js"]
    text = (tmp_path / "run.html").read_text()
    for epoch in range(1, 5):
        assert f'"label":"{epoch}"' in text
        assert f'"name":"{epoch}"' in text
    assert '"label":"play"' in text
    assert "Atrial" in text
