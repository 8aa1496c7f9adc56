"""What a dataset is made from is fetched whole or not at all, and unpacked only when it is what its publisher made."""

import hashlib
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from helpers.servers import CONTENT, PAGE, Answer, Server, cut_off, in_ranges, in_turn, refusal, unprivileged, whole
from loaders.files import sources
from loaders.files.sources import Remote, download, topmost
from toolbox.errors import CommanderError, DownloadError, ResourceError

SHA256 = hashlib.sha256(CONTENT).hexdigest()


@contextmanager
def refused(kind: type[CommanderError], folder: Path, *, kept: int = 0) -> Iterator[list[CommanderError]]:
    """One line of that kind, and no file in `folder` but `kept` hidden ones to go on from."""
    caught: list[CommanderError] = []
    with pytest.raises(kind) as info:
        yield caught
    caught.append(info.value)
    assert len(str(info.value).splitlines()) == 1
    there = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    assert len(there) == kept
    assert all(path.name.startswith(".") for path in there)


@pytest.mark.parametrize("length", [True, False], ids=["with a Content-Length", "without a Content-Length"])
def test_a_download_has_the_right_content_and_leaves_nothing_else(server: Server, tmp_path: Path, length: bool) -> None:
    server.answer = whole(CONTENT, length=length)
    path = download(server.remote(size=len(CONTENT), sha256=SHA256), tmp_path / "new" / "ecg")
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new" / "ecg") == ["beats.zip"]
    assert path.stat().st_mode & 0o444 == 0o444
    assert server.asked == [None]


@pytest.mark.parametrize("length", [True, False], ids=["total known", "total not known"])
def test_a_terminal_has_a_progress_bar(
    server: Server, tmp_path: Path, length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    server.answer = whole(CONTENT, length=length)
    download(server.remote(), tmp_path)
    shown = sys.stderr.getvalue()
    assert "beats.zip" in shown
    assert ("100%" if length else "1.50MB") in shown


HALF = CONTENT[: len(CONTENT) // 2]
# What is known of a file, what is sent, and what the error says.
WRONG: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "size": ({"size": 123}, CONTENT, f"has the size {len(CONTENT)}, it should be 123"),
    "SHA-256": ({"sha256": "0" * 64}, CONTENT, f"has the SHA-256 {SHA256}, it should be {'0' * 64}"),
    "web page": ({}, PAGE, "is a web page of"),
    "no zip": ({}, HALF, "bytes that are no zip"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_download_is_refused_and_an_earlier_file_stays(server: Server, tmp_path: Path, fault: str) -> None:
    known, sent, says = WRONG[fault]
    server.answer = whole(sent)
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(**known), tmp_path)
    assert says in caught[0].what
    assert caught[0].hint
    assert len(server.asked) == 1
    (tmp_path / "beats.zip").write_bytes(b"old")
    with pytest.raises(DownloadError):
        download(server.remote(**known), tmp_path)
    assert (tmp_path / "beats.zip").read_bytes() == b"old"


@pytest.mark.parametrize(("status", "asked"), [(403, 1), (404, 1), (429, sources.ATTEMPTS), (500, sources.ATTEMPTS)])
def test_a_refusal_is_one_line_with_status_and_address_after_as_many_attempts_as_may_help(
    server: Server, tmp_path: Path, status: int, asked: int
) -> None:
    server.answer = refusal(status)
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    assert str(status) in caught[0].what
    assert caught[0].where == server.url
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("status", "asks"), [(429, "0"), (503, "0"), (503, "Wed, 21 Oct 2015 07:28:00 GMT"), (503, "soon")]
)
def test_a_server_under_load_is_asked_again_with_a_message(
    server: Server, tmp_path: Path, status: int, asks: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = in_turn(refusal(status, Retry_After=asks), whole(CONTENT))
    with caplog.at_level(logging.INFO):
        assert download(server.remote(), tmp_path).read_bytes() == CONTENT
    assert f"the server answers {status}; attempt 2 of {sources.ATTEMPTS} in 0 s" in caplog.text


def test_a_requested_wait_is_kept_unless_it_is_an_hour(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(sources.time, "sleep", waits.append)
    server.answer = refusal(503, Retry_After=3600)
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    assert "asks to wait 3600 s" in caught[0].what
    assert len(server.asked) == 1
    server.answer = in_turn(refusal(503, Retry_After=7), whole(CONTENT))
    download(server.remote(), tmp_path)
    assert waits == [7]


def test_waits_double_and_differ(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(sources, "BACKOFF_S", 1)
    monkeypatch.setattr(sources.time, "sleep", waits.append)
    server.answer = refusal(500)
    with refused(DownloadError, tmp_path):
        download(server.remote(), tmp_path)
    assert [0.5 <= wait / 2**i <= 1.5 for i, wait in enumerate(waits)] == [True] * (sources.ATTEMPTS - 1)
    assert len({wait / 2**i for i, wait in enumerate(waits)}) > 1


@pytest.mark.parametrize("address", [None, "http://nowhere.invalid/beats.zip"], ids=["nobody listens", "no such name"])
def test_without_a_network_it_is_one_line_after_one_attempt(
    server: Server, tmp_path: Path, address: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    url = address or server.url
    server.http.shutdown()
    server.http.server_close()
    with caplog.at_level(logging.INFO), refused(DownloadError, tmp_path) as caught:
        download(Remote("beats.zip", url), tmp_path)
    assert "no connection" in caught[0].what
    assert caught[0].code == 7
    assert "attempt" not in caplog.text


@pytest.fixture
def stalls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Answer]]:
    """Answers that stop after the bytes given, longer than anyone waits."""
    monkeypatch.setattr(sources, "READ_TIMEOUT_S", 0.1)
    done = threading.Event()

    def stalling(sent: bytes) -> Answer:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(sent)
            request.wfile.flush()
            done.wait(900)

        return answer

    yield stalling
    done.set()


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path, stalls: Callable[[bytes], Answer]) -> None:
    server.answer = stalls(b"")
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    assert "does not answer in time" in caught[0].what
    assert len(server.asked) == sources.ATTEMPTS


@pytest.mark.parametrize("how", ["breaks", "stalls"])
def test_a_transfer_that_stops_is_gone_on_with_by_the_next_attempt(
    server: Server, tmp_path: Path, stalls: Callable[[bytes], Answer], how: str
) -> None:
    begin = f"HTTP/1.0 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT[:1_000_000]
    first = stalls(begin) if how == "stalls" else cut_off(CONTENT, 1_000_000)
    server.answer = in_turn(first, in_ranges(CONTENT))
    assert download(server.remote(sha256=SHA256), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] not in (None, "bytes=0-")
    assert os.listdir(tmp_path) == ["beats.zip"]


def test_the_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/beats.zip"))
    monkeypatch.setenv("no_proxy", "")
    path = download(Remote("beats.zip", "http://nowhere.invalid/beats.zip"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.paths == ["http://nowhere.invalid/beats.zip"]


def test_a_broken_transfer_is_gone_on_with_and_its_checksum_is_of_the_whole(server: Server, tmp_path: Path) -> None:
    server.answer = cut_off(CONTENT, 1_000_000)
    with refused(DownloadError, tmp_path, kept=1) as caught:
        download(server.remote(sha256=SHA256), tmp_path)
    assert "incomplete" in caught[0].what
    kept = next(tmp_path.iterdir()).stat().st_size
    server.answer = in_ranges(CONTENT)
    path = download(server.remote(sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert kept > 0
    assert server.asked[-1] == f"bytes={kept}-"
    assert os.listdir(tmp_path) == ["beats.zip"]


def test_a_broken_transfer_starts_again_where_it_cannot_go_on(server: Server, tmp_path: Path) -> None:
    for left in ({"12345678": CONTENT[:1_000_000]}, {"12345678": CONTENT}, {"12345678": b"half", "abcdefgh": b"half"}):
        for suffix, sent in left.items():
            (tmp_path / f".beats.zip.part{suffix}.part").write_bytes(sent)
        path = download(server.remote(sha256=SHA256), tmp_path)
        assert path.read_bytes() == CONTENT
        assert os.listdir(tmp_path) == ["beats.zip"]
        path.unlink()


def test_a_transfer_that_was_whole_but_not_yet_verified_is_verified(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".beats.zip.part").write_bytes(CONTENT[:-1])
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(sha256=SHA256), tmp_path)
    assert SHA256 in caught[0].what
    assert download(server.remote(sha256=SHA256), tmp_path).read_bytes() == CONTENT


def test_two_downloads_at_once_fetch_the_file_once(server: Server, tmp_path: Path) -> None:
    asked, waiting = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        waiting.wait(900)
        whole(CONTENT)(request)

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting" in record.getMessage():
                waiting.set()

    server.answer = answer
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(download(server.remote(), tmp_path))) for _ in range(2)]
    watch, level = Watch(), sources.log.level
    sources.log.addHandler(watch)
    sources.log.setLevel(logging.INFO)
    threads[0].start()
    asked.wait(900)
    threads[1].start()
    for thread in threads:
        thread.join(900)
    sources.log.removeHandler(watch)
    sources.log.setLevel(level)
    assert paths == [tmp_path / "beats.zip"] * 2
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_written_is_a_resource_error(server: Server) -> None:
    with unprivileged() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o555)
        with refused(ResourceError, closed) as caught:
            download(server.remote(), closed)
    assert "Permission denied" in caught[0].what
    assert caught[0].where == str(closed)


def test_topmost_takes_the_first_folder_from_above_and_only_that(tmp_path: Path) -> None:
    for name in ("b/1.hea", "b/2.hea", "b/x/3.hea", "c/4.hea", "a/5.txt", "b/._1.hea", "._6.hea"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert topmost(tmp_path, "*.hea") == [tmp_path / "b" / "1.hea", tmp_path / "b" / "2.hea"]
    assert topmost(tmp_path / "b" / "x", "*.hea") == [tmp_path / "b" / "x" / "3.hea"]
    assert topmost(tmp_path, "*.csv") == []
    assert topmost(tmp_path / "nowhere", "*") == []
