"""What a dataset is made from is fetched whole or not at all, and unpacked only when it is what its publisher made."""

import hashlib
import io
import logging
import os
import random
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loaders import sources
from loaders.sources import Remote, download, topmost
from toolbox.errors import CommanderError, DownloadError, ResourceError


def zipped(members: dict[str, bytes | str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


CONTENT = zipped({"noise": random.Random(0).randbytes(1_500_000)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\n<!DOCTYPE html><html>Quota exceeded</html>"
Answer = Callable[[BaseHTTPRequestHandler], None]


def whole(content: bytes, *, length: bool = True) -> Answer:
    """An answer with all of `content`."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if length:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def cut_off(content: bytes, sent: int) -> Answer:
    """An answer whose connection breaks after `sent` bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:sent])

    return answer


def in_ranges(content: bytes) -> Answer:
    """An answer that goes on from where it is asked to."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        if not asked:
            return whole(content)(request)
        begin = int(asked.removeprefix("bytes=").rstrip("-"))
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - begin))
        request.end_headers()
        request.wfile.write(content[begin:])
        return None

    return answer


class Server:
    """An HTTP server on this machine; `asked` is the Range header of every request, None where there was none."""

    def __init__(self) -> None:
        self.answer: Answer = whole(CONTENT)
        self.asked: list[str | None] = []
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.headers.get("Range"))
                server.paths.append(self.path)
                server.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing on stderr."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.block_on_close = False
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/beats.zip"

    def remote(self, *, name: str = "beats.zip", size: int | None = None, sha256: str | None = None) -> Remote:
        return Remote(name, self.url, size, sha256)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


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


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A temporary folder, and a user whom permissions bind."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize("length", [True, False], ids=["with a Content-Length", "without a Content-Length"])
def test_a_download_has_the_right_content_and_leaves_nothing_else(server: Server, tmp_path: Path, length: bool) -> None:
    server.answer = whole(CONTENT, length=length)
    path = download(server.remote(size=len(CONTENT), sha256=SHA256), tmp_path / "new" / "ecg")
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new" / "ecg") == ["beats.zip"]
    assert path.stat().st_mode & 0o444 == 0o444
    assert server.asked == [None]


@pytest.mark.parametrize("length", [True, False], ids=["total known", "total not known"])
def test_the_progress_bar_works_on_a_terminal(
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


def test_a_download_of_another_size_is_refused_with_both_sizes(server: Server, tmp_path: Path) -> None:
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(size=123), tmp_path)
    assert f"size {len(CONTENT)}" in caught[0].what
    assert "123" in caught[0].what


def test_a_download_with_another_sha256_is_refused_with_both_sums(server: Server, tmp_path: Path) -> None:
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(size=len(CONTENT), sha256="0" * 64), tmp_path)
    assert SHA256 in caught[0].what
    assert "0" * 64 in caught[0].what


def test_a_file_that_stood_there_stays_when_the_new_one_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "beats.zip").write_bytes(b"old")
    with pytest.raises(DownloadError):
        download(server.remote(size=123), tmp_path)
    assert (tmp_path / "beats.zip").read_bytes() == b"old"


def test_a_web_page_instead_of_a_zip_is_recognised(server: Server, tmp_path: Path) -> None:
    server.answer = whole(PAGE)
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    assert "web page" in caught[0].what
    assert "--data-file" in caught[0].hint


def test_bytes_that_are_no_zip_are_refused(server: Server, tmp_path: Path) -> None:
    server.answer = whole(CONTENT[: len(CONTENT) // 2])
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    assert "no zip" in caught[0].what


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_status_of_refusal_is_one_line_with_the_status_and_the_address(server: Server, tmp_path: Path, status: int) -> None:
    server.answer = lambda request: request.send_error(status)
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    assert str(status) in caught[0].what
    assert caught[0].where == server.url


def test_a_port_that_nobody_listens_on_is_one_line(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.http.shutdown()
    server.http.server_close()
    with refused(DownloadError, tmp_path) as caught:
        download(Remote("beats.zip", url), tmp_path)
    assert "no connection" in caught[0].what
    assert caught[0].code == 7


def test_a_server_that_never_answers_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    server.answer = lambda _: done.wait(60)
    monkeypatch.setattr(sources, "READ_TIMEOUT_S", 0.1)
    with refused(DownloadError, tmp_path) as caught:
        download(server.remote(), tmp_path)
    done.set()
    assert "does not answer in time" in caught[0].what


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


@pytest.mark.parametrize("sent", [1_000_000, len(CONTENT)], ids=["a part", "all but its last move"])
def test_a_broken_transfer_starts_again_where_the_server_cannot_go_on(server: Server, tmp_path: Path, sent: int) -> None:
    (tmp_path / ".beats.zip.part12345678.part").write_bytes(CONTENT[:sent])
    path = download(server.remote(sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["beats.zip"]


def test_two_left_overs_of_broken_transfers_do_not_stop_the_next(server: Server, tmp_path: Path) -> None:
    for suffix in ("abcdefgh", "12345678"):
        (tmp_path / f".beats.zip.part{suffix}.part").write_bytes(b"half")
    assert download(server.remote(sha256=SHA256), tmp_path).read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["beats.zip"]


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
        waiting.wait(60)
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
    asked.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
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
    for name in ("b/1.hea", "b/2.hea", "b/x/3.hea", "c/4.hea", "a/5.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert topmost(tmp_path, "*.hea") == [tmp_path / "b" / "1.hea", tmp_path / "b" / "2.hea"]
    assert topmost(tmp_path / "b" / "x", "*.hea") == [tmp_path / "b" / "x" / "3.hea"]
    assert topmost(tmp_path, "*.csv") == []
    assert topmost(tmp_path / "nowhere", "*") == []
