"""Data as users of the command meet it: faulty files refused or dropped, downloads, pictures of a dataset, charts."""

import json
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import tables
from helpers.commands import SHORT, assert_error, carried_out, finish, launch, small_disk, wait_for
from helpers.data import ROOT, test_set_is_closed
from helpers.detection import kaggle as generated
from helpers.ecg5000 import SMALL
from helpers.ecg5000 import write as write_ecg5000
from helpers.kaggle import TEST, TRAIN, change_row, make_zip, write_csv
from helpers.pages import Page
from helpers.servers import PAGE, Answer, cut_off, in_ranges, in_turn, refusal, whole
from helpers.wfdb_records import spoil, write_record
from loaders import get_data
from loaders.charts.store import reading
from models import MODELS

ECG = ("--dataset", "ecg", *SHORT[2:], "--epochs", "1")
RUN = Path("ecg", "runs", "ecg_cnn1d_3_1")

# Faulty files


def kaggle(folder: Path) -> Path:
    """A folder with both files of Kaggle, 60 and 20 rows."""
    write_csv(folder / TRAIN, 60, seed=1)
    return write_csv(folder / TEST, 20, seed=2).parent


def with_cell(column: int, cell: str) -> Callable[[str], str]:
    """A change of a row: another `cell` at `column`, counted from 1."""
    return lambda line: ",".join([*line.split(",")[: column - 1], cell, *line.split(",")[column:]])


def shortened(line: str) -> str:
    return line.rpartition(",")[0]


def with_header(path: Path) -> None:
    path.write_text(",".join(f"t{i}" for i in range(188)) + "\n" + path.read_text())


# Each row has one of these and is refused; with --bad-rows drop each is dropped.
ROWS: dict[str, Callable[[str], str]] = {
    "ragged": shortened,
    "text": with_cell(5, "abc"),
    "NaN": with_cell(6, "NaN"),
    "infinite": with_cell(7, "Inf"),
    "label 5": with_cell(188, "5"),
    "label -1": with_cell(188, "-1"),
    "label 1.5": with_cell(188, "1.5"),
    "no label": with_cell(188, ""),
}


def beats(spoil: Callable[[Path], object], name: str = TRAIN) -> Callable[[Path], Path]:
    """Both files of Kaggle, one of them spoilt."""

    def make(folder: Path) -> Path:
        spoil(kaggle(folder) / name)
        return folder

    return make


def row(number: int, change: Callable[[str], str], name: str = TRAIN) -> Callable[[Path], Path]:
    return beats(lambda path: change_row(path, number, change), name)


def records(damage: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Two records, the second damaged."""

    def make(folder: Path) -> Path:
        write_record(folder, "201")
        damage(write_record(folder, "202"))
        return folder

    return make


def every_line(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: path.write_text("\n".join(map(change, path.read_text().splitlines())))


LONG = pd.DataFrame(np.tile(tables.X, (1, 8))).assign(label=tables.LABEL)  # 96 samples, enough for a network
OBJECTS = np.array([*tables.LABEL], dtype=object)


def broken_csv(folder: Path) -> Path:
    path = tables.write(folder / "my.csv", LONG)
    tables.changed(8, 3, "nan")(path)
    return path


def other_length(folder: Path) -> Path:
    path = write_ecg5000(folder / "ucr", ".ts", **SMALL) / "ECG5000_TRAIN.ts"
    path.write_text(path.read_text().replace("@seriesLength 140", "@seriesLength 96"))
    return path


def aged(folder: Path) -> Path:
    return tables.write(folder / "my.csv", tables.frame(age=np.arange(tables.N)))


REFUSED: dict[str, tuple[str, Callable[[Path], Path | None], tuple[str, ...]]] = {
    "missing": ("ecg", beats(Path.unlink), ("mitbih_train.csv is missing",)),
    "empty": ("ecg", beats(lambda path: path.write_text("")), ("the file is empty", f"{TRAIN})")),
    "one row": ("ecg", beats(lambda path: path.write_text(path.read_text().splitlines()[0])), ("cannot set 0 of 1",)),
    "a header": ("ecg", beats(with_header), ("'t0' is not a finite number", "line 1, column 1)", "no header")),
    "187 columns": ("ecg", beats(every_line(shortened)), ("187 columns, expected 187 samples and a label", "line 1)")),
    "189 columns": ("ecg", beats(every_line("{},0".format)), ("189 columns, expected 187 samples", "line 1)")),
    "text": ("ecg", row(8, ROWS["text"]), ("'abc' is not a finite number", "line 9, column 5)")),
    "no label": ("ecg", row(8, ROWS["no label"]), ("the cell is empty, the label is one of 0..4 (N S", "line 9")),
    "a test row": ("ecg", row(3, with_cell(2, "?"), TEST), (f"{TEST}, line 4, column 2)", "'?' is not a finite")),
    "no record": ("ecg", records(lambda at: spoil(at, "no .dat")), ("record 202 cannot", "signal: 202.dat is missing")),
    "late beats": ("ecg", records(lambda at: spoil(at, "annotations past the end")), ("annotations: they reach from",)),
    "a cell": ("table", broken_csv, ("'nan' is not a finite number", "my.csv, line 9, column 4", "--bad-rows drop")),
    "objects": ("table", lambda at: tables.save(at / "my.npz", x=tables.X, y=OBJECTS), ("y holds Python objects",)),
    "an age": ("table", aged, ("60 different labels",)),
    "another length": ("ecg5000", other_length, ("@seriesLength is 96, expected 140", "line 7")),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_a_faulty_file_is_refused_in_one_line_that_says_where(root: Path, tmp_path: Path, fault: str) -> None:
    dataset, make, says = REFUSED[fault]
    (tmp_path / "given").mkdir()
    ended = carried_out("--dataset", dataset, "--data-file", make(tmp_path / "given"), "--download", "--root-dir", root)
    assert_error(ended, 3, *says)
    assert not list(root.glob("*/runs"))


def test_a_table_needs_a_file(root: Path) -> None:
    says = ("needs your own file", "--data-file my.csv")
    assert_error(carried_out("--dataset", "table", "--download", "--root-dir", root), 2, *says)


def test_bad_rows_can_be_dropped_and_the_run_says_how_many_in_every_place(root: Path, tmp_path: Path) -> None:
    folder = kaggle(tmp_path)
    for number, change in enumerate(ROWS.values()):
        change_row(folder / TRAIN, 5 * number, change)
    with_header(folder / TRAIN)
    change_row(folder / TEST, 4, shortened)
    change_row(folder / TEST, 6, with_cell(188, "7"))
    ended = carried_out(*ECG, "--data-file", folder, "--root-dir", root, "--bad-rows", "drop")
    assert ended.code == 0, ended.err
    for said in (f"{TRAIN}: 9; line 1, column 1: 't0' is not a finite number; line 2: 187", f"{TEST}: 2; line 5: 187"):
        assert f"rows dropped from {folder}/{said} columns" in ended.err
    config = json.loads((root / RUN / "config.json").read_text())
    assert (config["flags"]["bad_rows"], config["data"]["dropped_rows"]) == ("drop", 9)
    assert config["data"]["train_rows"] + config["data"]["val_rows"] == 52
    assert ended.result["dropped_rows"] == {"train": 9, "test": 2}
    assert (
        "unusable rows dropped: 9 of the data of train, 2 of the data of test"
        in (root / RUN / "pred" / "report.txt").read_text()
    )
    rows = pd.read_csv(root / RUN / "pred" / "predictions.csv").row
    assert rows.tolist() == [row for row in range(20) if row not in (4, 6)]


def test_unusable_rows_of_a_divided_file_count_once(root: Path, tmp_path: Path) -> None:
    csv = tables.write(tmp_path / "my.csv", tables.frame(label=tables.LABEL))
    for line in (3, 8):
        tables.changed(line, 1, "x")(csv)
    table = ("--dataset", "table", "--model-name", "resnet1d_10", "--root-dir", root, "--no-figures")
    ended = carried_out(*table, "--data-file", csv, "--bad-rows", "drop", "--epochs", "1", "--batch-size", "16")
    assert ended.code == 0, ended.err
    assert ended.result["dropped_rows"] == {"data": 2}
    text = (Path(ended.result["run_folder"]) / "pred" / "report.txt").read_text()
    assert "unusable rows dropped: 2 of the data, before it was divided" in text
    tested = carried_out(*table, "--test", "--test-on", csv)
    assert tested.code == 0, tested.err
    assert tested.result["dropped_rows"] == {"train": 2, "test": 2}
    whole = tables.write(tmp_path / "whole.csv", tables.frame(label=tables.LABEL))
    tested = carried_out(*table, "--test", "--test-on", whole)
    assert tested.result["dropped_rows"] == {"train": 2, "test": 0}


def test_a_run_that_ends_at_a_bad_row_of_test_can_be_tested_without_it(root: Path, tmp_path: Path) -> None:
    change_row(kaggle(tmp_path) / TEST, 4, shortened)
    assert carried_out(*ECG, "--data-file", tmp_path, "--root-dir", root).code == 3
    flags = ("--dataset", "ecg", "--model-name", "cnn1d_3", "--no-figures", "--test", "--bad-rows", "drop")
    ended = carried_out(*flags, "--root-dir", root)
    assert ended.code == 0, ended.err
    assert ended.result["dropped_rows"] == {"train": 0, "test": 1}


def constant_rows(folder: Path) -> Path:
    kaggle(folder)
    for name in (TRAIN, TEST):
        for number, level in ((0, 0.0), (6, 0.5), (12, 1.0)):
            flat = ",".join([str(level)] * 187)
            change_row(folder / name, number, lambda line, flat=flat: f"{flat},{line.rpartition(',')[2]}")
    return folder


def test_a_constant_signal_is_trained_on_and_tested_without_nan(root: Path, tmp_path: Path) -> None:
    network = "lstm_1"  # which divides by the deviation of each row
    ended = carried_out(*ECG, "--model-name", network, "--data-file", constant_rows(tmp_path), "--root-dir", root)
    assert ended.code == 0, ended.err
    run = Path(ended.result["run_folder"])
    (epoch,) = json.loads((run / "logger.json").read_text())
    assert np.isfinite([epoch["train"]["loss"], epoch["val"]["loss"], ended.result["test"]["loss"]]).all()
    with np.load(run / "pred" / "predictions.npz") as predictions:
        assert np.isfinite(predictions["scores"]).all()


def test_rows_of_both_splits_are_counted_and_named_and_refused_before_training_where_asked(
    root: Path, tmp_path: Path
) -> None:
    own = (kaggle(tmp_path) / TRAIN).read_text().splitlines()
    how = (*ECG, "--data-file", tmp_path, "--root-dir", root)
    apart = carried_out(*how, "--strict-split")
    assert (apart.code, apart.result["shared_rows"]) == (0, 0), apart.err
    assert "0 of 20 test rows stand in train" in (root / RUN / "pred" / "report.txt").read_text()
    shutil.rmtree(root / "ecg")
    for number in (3, 9):
        change_row(tmp_path / TEST, number, lambda _, number=number: own[40 + number])
    said = "2 of 20 test rows stand in train or validation too: rows 3, 9"
    assert_error(carried_out(*how, "--strict-split"), 3, f"{said} (ecg)")
    assert not (root / "ecg" / "runs").exists()
    ended = carried_out(*how)
    assert (ended.code, ended.result["shared_rows"]) == (0, 2), ended.err
    assert ended.err.count(said) == 2  # as a warning and in the report
    assert said in (root / RUN / "pred" / "report.txt").read_text()


# Downloads

DRIVE, PHYSIONET = "drive.google.com", "physionet.org"


class Internet:
    """The servers behind the command's proxy: each host with its answer and a certificate; `environment` trusts it."""

    def __init__(self, folder: Path) -> None:
        subject = ["-subj", "/CN=tests", "-addext", f"subjectAltName=DNS:{DRIVE},DNS:{PHYSIONET}"]
        files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
        subprocess.run(make, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        self.answers: dict[str, Answer] = {DRIVE: quota_page, PHYSIONET: quota_page}
        self.asked: list[tuple[str, str | None]] = []  # host, and Range where there was one
        internet = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.request = context.wrap_socket(self.connection, server_side=True)
                self.setup()
                self.host, self.close_connection = self.path.partition(":")[0], False

            def do_GET(self) -> None:
                internet.asked.append((self.host, self.headers.get("Range")))
                internet.answers[self.host](self)

            def finish(self) -> None:
                super().finish()
                self.request.close()

            def log_message(self, *_: object) -> None:
                """Say nothing on stderr."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        proxy = f"http://127.0.0.1:{self.http.server_port}"
        self.environment = {"https_proxy": proxy, "REQUESTS_CA_BUNDLE": str(folder / "certificate.pem")}


def quota_page(request: BaseHTTPRequestHandler) -> None:
    """What Google Drive sends once too many have fetched a file."""
    request.send_response(200)
    request.send_header("Content-Type", "text/html; charset=utf-8")
    request.end_headers()
    request.wfile.write(PAGE)


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate of the servers, is not here")
    (tmp_path / "internet").mkdir()
    running = Internet(tmp_path / "internet")
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """A zip of both Kaggle files, a few rows each, and of noise that makes it large enough to be sent in parts."""
    files = {name: write_csv(tmp_path / "rows" / name, 60) for name in (TRAIN, TEST)}
    files["noise"] = tmp_path / "rows" / "noise"
    files["noise"].write_bytes(random.Random(0).randbytes(2_000_000))
    return make_zip(tmp_path / "rows" / "beats.zip", files).read_bytes()


def test_a_quota_page_in_place_of_the_file_is_recognised_and_not_asked_for_again(
    internet: Internet, tmp_path: Path
) -> None:
    ended = carried_out("--download", "--root-dir", tmp_path / "data", env=internet.environment)
    assert_error(ended, 7, "heartbeat.zip", "mit-bih-arrhythmia-database", "quota notice", "--data-file")
    assert internet.asked == [(DRIVE, None), (PHYSIONET, None)]
    assert not (tmp_path / "data").exists()


def test_a_busy_server_is_asked_again_and_a_broken_transfer_resumed(
    internet: Internet, tmp_path: Path, archive: bytes
) -> None:
    broken = cut_off(archive, len(archive) // 2)
    internet.answers[PHYSIONET] = in_turn(refusal(503, Retry_After=0), broken, in_ranges(archive))
    ended = carried_out("--download", "--root-dir", tmp_path / "data", env=internet.environment)
    assert ended.code == 0, ended.err
    assert "the server answers 503; attempt 2 of 4 in 0 s" in ended.err
    assert "the transfer is incomplete; attempt 3 of 4" in ended.err
    assert "ecg is ready" in ended.err
    host, begin = internet.asked[-1]
    assert host == PHYSIONET
    assert begin not in (None, "bytes=0-")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_wait_for_the_server_ends_with_a_signal(internet: Internet, tmp_path: Path, signum: int, code: int) -> None:
    internet.answers[PHYSIONET] = refusal(503, Retry_After=29)
    process = launch("--download", "--root-dir", tmp_path / "data", env=internet.environment)
    assert any("attempt 2 of 4 in 29 s" in line for line in process.stderr)
    process.send_signal(signum)
    ended = finish(process)
    assert (ended.code, ended.err) == (code, "interrupted\n")
    assert internet.asked.count((PHYSIONET, None)) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("first_fails", [False, True])
def test_of_two_downloads_at_once_one_waits_for_the_other(
    internet: Internet, tmp_path: Path, archive: bytes, first_fails: bool
) -> None:
    asked, waiting = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        internet.answers[PHYSIONET] = whole(archive)
        asked.set()
        waiting.wait(900)
        (refusal(404) if first_fails else whole(archive))(request)

    internet.answers[PHYSIONET] = answer
    flags = ("--download", "--root-dir", tmp_path / "data")
    first = launch(*flags, env=internet.environment)
    assert asked.wait(900)
    second = launch(*flags, env=internet.environment)
    assert any("waiting for another process" in line for line in second.stderr)
    waiting.set()
    assert [finish(process).code for process in (first, second)] == [7 if first_fails else 0, 0]
    assert internet.asked.count((PHYSIONET, None)) == 1 + first_fails


# Pictures of a dataset

EXPLORED = {"classes.png", "examples.png", "mean.png", "augmentations.png", "index.html", ".ecg-commander"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_dataset_is_drawn_and_stdout_is_the_path_of_its_page(root: Path) -> None:
    page = root / "synth" / "explore" / "index.html"
    ended = carried_out("--dataset", "synth", "--explore", "--root-dir", root)
    assert (ended.code, ended.out) == (0, f"{page}\n"), ended.err
    assert names(page.parent) == EXPLORED
    assert (names(root), names(root / "synth")) == ({"synth", "plotly.min.js"}, {"cache", "explore"})
    assert all((page.parent / name).is_file() for name in Page(page).loaded if not name.startswith("data:"))
    for words in ("validation is 0.1 of train", "the test rows are not opened"):
        assert words in page.read_text()


def test_the_test_file_stays_closed_while_the_rest_is_drawn(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolbox.reports.plots.save_png", lambda _, path: path.touch())
    folder = generated(tmp_path / "kaggle Ä", test=b"0.5,0.5\n")
    flags = ("--data-file", folder, "--root-dir", root)
    ended = carried_out("--explore", *flags, "--task", "detect", "--normal-class", "V")
    assert ended.code == 0, ended.err
    page = Path(ended.out.strip())
    assert page == root / "ecg" / "explore" / "index.html"
    assert "trained and validated on V alone" in page.read_text()
    assert_error(carried_out("--explore", "--download", *flags), 3, "mitbih_test.csv, line 1")


def test_a_table_of_few_rows_without_labels_and_rate_is_drawn(root: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", x=np.random.default_rng(0).normal(size=(6, 2, 40)))
    flags = ("--dataset", "table", "--data-file", tmp_path / "my.npz", "--val-fraction", "0.3")
    ended = carried_out(*flags, "--explore", "--root-dir", root)
    assert ended.code == 0, ended.err
    assert names(Path(ended.out.strip()).parent) == EXPLORED
    assert "unlabelled" in Path(ended.out.strip()).read_text()


def test_a_folder_that_cannot_be_written_is_named(root: Path) -> None:
    flags, folder = ("--dataset", "synth", "--explore", "--root-dir", root), root / "synth" / "explore"
    folder.parent.chmod(0o555)
    ended = finish(launch(*flags, limits={"permissions": True}))
    folder.parent.chmod(0o755)
    assert_error(ended, 6, str(folder))
    assert names(root / "synth") == {"cache"}


# Charts that are drawn

STRIPS = ("--dataset", "synth_strips", "--view", "chart", "--chart-size", "150", "--chart-layout", "1x5", "--download")


def knowing(root: Path, strips_cache: Path) -> Path:
    """A --root-dir that knows the strips."""
    (root / "synth_strips").mkdir(parents=True)
    (root / "synth_strips" / "cache").symlink_to(strips_cache)
    return root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, strips_cache: Path) -> SimpleNamespace:
    """Charts that were drawn without a disturbance."""
    root = knowing(tmp_path_factory.mktemp("undisturbed"), strips_cache)
    ended = carried_out(*STRIPS, "--root-dir", root)
    assert ended.code == 0, ended.err
    return SimpleNamespace(root=root, charts=charts(root))


def charts(root: Path) -> dict[bytes, bytes]:
    """Every chart of every store."""
    found = {}
    for part in (root / "synth_strips" / "charts").glob("*/part-*"):
        with reading(part) as get, get.__self__.cursor() as cursor:
            found |= {part.parent.name.encode() + key: value for key, value in cursor}
    return found


def drawing(root: Path) -> bool:
    """Whether some charts, and not all, are drawn."""
    return any(path.stat().st_size > 30_000 for path in root.rglob("building/data.mdb"))


def test_a_drawing_that_is_killed_continues_where_it_stopped(
    tmp_path: Path, strips_cache: Path, undisturbed: SimpleNamespace
) -> None:
    root = knowing(tmp_path, strips_cache)
    process = launch(*STRIPS, "--root-dir", root)
    wait_for(lambda: drawing(root), process)
    process.kill()
    if finish(process).code != 0:  # else it was faster than the signal
        assert len(charts(root)) < len(undisturbed.charts)
    again = carried_out(*STRIPS, "--root-dir", root)
    assert again.code == 0, again.err
    assert charts(root) == undisturbed.charts
    assert not list(root.rglob("building"))


def test_a_full_disk_is_named_and_the_drawn_charts_are_kept(tmp_path: Path, strips_cache: Path) -> None:
    with small_disk(tmp_path / "disk", 2**20) as disk:
        ended = carried_out(*STRIPS, "--root-dir", knowing(disk / "data", strips_cache))
        assert_error(ended, 6, "data.mdb: No space left on device", "bytes written", "free space")
        assert drawing(disk)
        assert not list(disk.rglob("*.tmp"))


PARALLEL = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
if __name__ == "__main__":
    from helpers import chartstore as store
    from toolbox.paper import drawing
    drawing.ALONE = 10
    store.fill(store.opened(Path({folder!r})), store.keys(10**6), store.window, store.HOW, workers=2)
"""


def test_processes_that_draw_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "parallel.py"
    script.write_text(PARALLEL.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path / "charts")))
    process = launch(script, script="", program=ROOT)
    wait_for(lambda: any(tmp_path.rglob("building/data.mdb")), process)
    wait_for(lambda: len(children(process.pid)) >= 2, process)
    own = children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 900
    while any(Path(f"/proc/{pid}").exists() for pid in own):
        assert time.monotonic() < deadline, own
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process started, where the system tells (Linux)."""
    if not sys.platform.startswith("linux"):
        pytest.skip("no /proc here")
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def test_a_package_of_charts_that_is_not_installed_is_named_with_how_to_get_it(
    tmp_path: Path, strips_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    ended = carried_out(*STRIPS, "--root-dir", knowing(tmp_path, strips_cache))
    assert_error(ended, 6, "the package lmdb is not installed", "pip install -r requirements-vision.txt")


# --dry-run


@pytest.mark.parametrize("flags", [(), ("--short-run", "--batch-size", "16"), ("--task", "detect")], ids=str)
def test_a_dry_run_describes_data_network_and_time_and_leaves_nothing(closed: Path, flags: tuple[str, ...]) -> None:
    name = "linear_ae" if "detect" in flags else "cnn1d_3"
    before = set(closed.rglob("*"))
    ended = carried_out("--dataset", "synth", "--model-name", name, "--root-dir", closed, "--dry-run", *flags)
    assert ended.code == 0, ended.err
    parameters = MODELS[name].parameters
    assert re.search(rf"^all +{parameters:,} +[\d,]+$", ended.out, re.MULTILINE)
    rows = re.search(r"^all +([\d,]+) +([\d,]+)$", ended.out, re.MULTILINE)
    config = get_data("synth", closed, detect="detect" in flags, short_batch=16 if "--short-run" in flags else None)
    assert [int(count.replace(",", "")) for count in rows.groups()] == [len(config.train), len(config.val)]
    assert re.search(r"^an epoch: about [\d.e-]+ s \(\d+ steps of \d+ rows", ended.out, re.MULTILINE)
    assert set(closed.rglob("*")) == before
    assert test_set_is_closed(closed)


def test_a_dry_run_writes_a_configuration_and_refuses_to_open_the_test(closed: Path, tmp_path: Path) -> None:
    run = ("--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir", closed, "--dry-run")
    assert carried_out(*run, "--save-config", tmp_path / "run.json").code == 0
    assert json.loads((tmp_path / "run.json").read_text())["model_name"] == "cnn1d_3"
    assert_error(carried_out(*run, "--strict-split"), 2, "--dry-run leaves the test rows closed")
    assert not (closed / "synth" / "runs").exists()
