"""A server of this machine that answers as a test asks, and zips to serve."""

import io
import os
import random
import stat
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loaders.files import sources
from loaders.files.sources import Remote


def zipped(members: dict[str, bytes | str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


CONTENT = zipped({"noise": random.Random(0).randbytes(1_500_000)})
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


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, then the last one for good."""
    rest = list(answers)

    def answer(request: BaseHTTPRequestHandler) -> None:
        (rest.pop(0) if len(rest) > 1 else rest[0])(request)

    return answer


def refusal(status: int, **headers: object) -> Answer:
    """An answer with a status and without content."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": 0, **headers}.items():
            request.send_header(name.replace("_", "-"), str(value))
        request.end_headers()

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
    monkeypatch.setattr(sources, "BACKOFF_S", 0)
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


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


def member(name: str, *, kind: int = stat.S_IFREG, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr, info.compress_type = 3, (kind | 0o777) << 16, method
    return info
