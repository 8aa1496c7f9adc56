"""Faults of downloads, archives and records, as the user of the command meets them: real servers, files and signals."""

import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.commands import carried_out, finish, launch
from helpers.kaggle import TEST, TRAIN, make_zip, write_csv
from helpers.servers import PAGE, Answer, cut_off, in_ranges, in_turn, member, refusal, whole, zipped
from helpers.wfdb_records import spoil, write_record

DRIVE, PHYSIONET = "drive.google.com", "physionet.org"


class Internet:
    """What the command finds behind its proxy: each host with its answer, and with a certificate that `environment`
    trusts."""

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
def beats(tmp_path: Path) -> bytes:
    """A zip of both Kaggle files, a few rows each, and of what makes it large enough to be sent in parts."""
    files = {name: write_csv(tmp_path / "rows" / name, 60) for name in (TRAIN, TEST)}
    files["noise"] = tmp_path / "rows" / "noise"
    files["noise"].write_bytes(random.Random(0).randbytes(2_000_000))
    return make_zip(tmp_path / "rows" / "beats.zip", files).read_bytes()


def assert_refused(ended: SimpleNamespace, code: int, *says: str) -> None:
    """That exit code after one line of error, which says all that."""
    lines = ended.err.strip().splitlines()
    assert ended.code == code, ended.err
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in ended.err
    assert [text for text in says if text not in lines[-1]] == []


# Downloads


def test_a_quota_page_in_place_of_the_file_is_recognised_and_not_asked_for_again(
    internet: Internet, tmp_path: Path
) -> None:
    ended = carried_out("--download", "--root-dir", tmp_path / "data", env=internet.environment)
    assert_refused(ended, 7, "heartbeat.zip", "mit-bih-arrhythmia-database", "quota notice", "--data-file")
    assert internet.asked == [(DRIVE, None), (PHYSIONET, None)]
    assert not (tmp_path / "data").exists()


def test_a_busy_server_is_asked_again_and_a_broken_transfer_resumed(
    internet: Internet, tmp_path: Path, beats: bytes
) -> None:
    broken = cut_off(beats, len(beats) // 2)
    internet.answers[PHYSIONET] = in_turn(refusal(503, Retry_After=0), broken, in_ranges(beats))
    ended = carried_out("--download", "--root-dir", tmp_path / "data", env=internet.environment)
    assert ended.code == 0, ended.err
    assert "the server answers 503; attempt 2 of 4 in 0 s" in ended.err
    assert "the transfer is incomplete; attempt 3 of 4" in ended.err
    assert "ecg is ready" in ended.err
    host, begin = internet.asked[-1]
    assert host == PHYSIONET
    assert begin not in (None, "bytes=0-")


def test_a_download_with_another_checksum_shows_both_sums(internet: Internet, tmp_path: Path) -> None:
    write_record(tmp_path / "db")
    records = {path.name: path for path in (tmp_path / "db").iterdir()}
    archive = make_zip(tmp_path / "db.zip", {**records, "SHA256SUMS.txt": f"{'0' * 64} 1.dat\n"})
    internet.answers[PHYSIONET] = whole(archive.read_bytes())
    ended = carried_out("--download", "--root-dir", tmp_path / "data", env=internet.environment)
    assert_refused(ended, 7, "1.dat has the SHA-256", f"its publisher states {'0' * 64}")


def test_without_a_network_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ended = carried_out("--download", "--root-dir", tmp_path / "data")
    assert_refused(ended, 7, "no connection", "--data-file")
    assert "attempt" not in ended.err
    assert os.listdir(tmp_path / "data") == []


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


@pytest.mark.parametrize(
    "first_fails", [False, True], ids=["the first brings it", "the first fails and takes its folder away"]
)
def test_of_two_that_download_one_waits_for_the_other(
    internet: Internet, tmp_path: Path, beats: bytes, first_fails: bool
) -> None:
    asked, waiting = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        internet.answers[PHYSIONET] = whole(beats)
        asked.set()
        waiting.wait(120)
        (refusal(404) if first_fails else whole(beats))(request)

    internet.answers[PHYSIONET] = answer
    flags = ("--download", "--root-dir", tmp_path / "data")
    first = launch(*flags, env=internet.environment)
    assert asked.wait(120)
    second = launch(*flags, env=internet.environment)
    assert any("waiting for another process" in line for line in second.stderr)
    waiting.set()
    assert [finish(process).code for process in (first, second)] == [7 if first_fails else 0, 0]
    assert internet.asked.count((PHYSIONET, None)) == 1 + first_fails


# Archives


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"../outside": "1"}, "'../outside' leads out of the folder"),
        ({"/outside": "1"}, "'/outside' leads out of the folder"),
        ({member("outside", kind=stat.S_IFLNK): "/etc/passwd"}, "'outside' is neither a file nor a folder"),
        ({member("null", kind=stat.S_IFCHR): ""}, "'null' is neither a file nor a folder"),
        ({"twice": "1", "Twice": "2"}, "'twice' is there twice"),
        ({"bomb": bytes(300_000_000)}, "unpack to 300000001"),
    ],
    ids=["..", "absolute", "link", "device", "twice", "bomb"],
)
def test_an_unsafe_archive_is_refused_before_a_byte_is_written(tmp_path: Path, content: dict, says: str) -> None:
    path, scratch = tmp_path / "some.zip", tmp_path / "scratch"
    scratch.mkdir()
    path.write_bytes(zipped({"1.hea": "1", "1.atr": "", **content}))
    ended = carried_out("--data-file", path, "--root-dir", tmp_path / "data", env={"TMPDIR": str(scratch)})
    assert_refused(ended, 7, says, str(path))
    assert sorted(os.listdir(tmp_path)) == ["scratch", "some.zip"]
    assert os.listdir(scratch) == []


# Records


def edited(old: str, new: str) -> Callable[[Path], object]:
    return lambda header: header.write_text(header.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda header: spoil(header, "no .dat"), "signal: 202.dat is missing"),
        (lambda header: spoil(header, "half a .dat"), "signal: 202.dat has room for 720 samples"),
        (edited("212", "999"), "header: the format of lead 1 is '999'"),
        (edited(" 360 1440", ""), "header: the sampling rate is ''"),
        (edited("202 1 ", "202 2 "), "header: the number of leads is '2', 1 are described"),
        (lambda header: spoil(header, "annotations past the end"), "annotations: they reach from sample"),
    ],
    ids=["no .dat", "short .dat", "format", "rate", "lead", "annotation past the end"],
)
def test_a_record_that_is_not_whole_is_named_with_its_field(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    write_record(tmp_path / "db", "201")
    damage(write_record(tmp_path / "db", "202"))
    ended = carried_out("--data-file", tmp_path / "db", "--root-dir", tmp_path / "data")
    assert_refused(ended, 3, "record 202 cannot be read", says, str(tmp_path / "db" / "202.hea"))
    assert not (tmp_path / "data" / "ecg" / "runs").exists()
