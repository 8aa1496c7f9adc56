"""Real processes of the program without the seconds of its imports: a server that has them forks one for each command.

    process = Preloaded([sys.executable, "commander.py", "--help"], env=..., stdout=subprocess.PIPE)

The command is a child of the test like any other, with its own process id, streams, environment and signals. For what
the server cannot give (another program or system, `preexec_fn`, variables that are read by an import) it is started in
the ordinary way. A forked command draws as many bootstrap replicates as one that is carried out by the test itself.
"""

import ctypes
import importlib
import inspect
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from toolbox.metrics import intervals

ROOT = Path(__file__).parents[2]
IMPORTED = (
    "torch._dynamo", "commands.fit", "commands.evaluate", "commands.predict", "commands.explain", "commands.data",
    "toolbox.reports.plots", "toolbox.tasks.classify", "toolbox.tasks.detect", "loaders.families.rows",
    "loaders.synthetic.beats", "models.signals.cnn1d", "studies.stages", "studies.runner", "pandas",
)  # fmt: skip
READ_BY_IMPORTS = (
    "OMP_", "MKL_", "KMP_", "CUDA", "TORCH", "PYTHON", "MPL", "HOME", "XDG_", "LD_", "LC_", "LANG", "DASK",
)  # fmt: skip
SUBREAPER = 36  # of prctl: an orphan below this process becomes its child
START = "import sys; sys.path += ['tests']; from helpers import preloaded; preloaded.serve()"
EXECUTE = inspect.signature(subprocess.Popen._execute_child)


class Preloaded(subprocess.Popen):
    """A subprocess.Popen that is forked where its command is a script of this program."""

    _server: socket.socket | None = None

    def _execute_child(self, *given: Any) -> None:
        asked = EXECUTE.bind(self, *given).arguments
        env = dict(os.environ if asked["env"] is None else asked["env"])
        if not self._can_be_forked(asked, env):
            super()._execute_child(*given)
            return
        ends = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        facts = {
            "argv": [os.fspath(word) for word in asked["args"][1:]],
            "env": env,
            "cwd": os.fspath(asked["cwd"] or Path.cwd()),
            "session": asked["start_new_session"],
            "replicates": intervals.REPLICATES,
        }
        self.pid = self._fork(json.dumps(facts).encode(), [own if end < 0 else end for own, end in enumerate(ends)])
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in names))

    @staticmethod
    def _can_be_forked(asked: dict[str, Any], env: dict[str, str]) -> bool:
        args = asked["args"]
        if sys.platform != "linux" or isinstance(args, str | os.PathLike) or len(args) < 2 or args[0] != sys.executable:
            return False
        changed = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
        return (
            Path(args[1]) in (ROOT / "commander.py", ROOT / "research.py")
            and not (asked["preexec_fn"] or asked["pass_fds"] or asked["shell"])
            and not any(name.startswith(READ_BY_IMPORTS) for name in changed)
        )

    @classmethod
    def _fork(cls, facts: bytes, ends: list[int]) -> int:
        """The process id of a new child with these streams."""
        if cls._server is None:
            cls._server, theirs = socket.socketpair()
            subprocess.Popen([sys.executable, "-c", START], stdin=theirs, cwd=ROOT)
            theirs.close()
        adopt = ctypes.CDLL(None).prctl
        adopt(SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(cls._server, [len(facts).to_bytes(8, "big")], ends)
            cls._server.sendall(facts)
            return int.from_bytes(cls._server.recv(8), "big")
        finally:
            adopt(SUBREAPER, 0, 0, 0, 0)


def serve() -> None:
    """Fork a process for every request until the test run ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = socket.socket(fileno=os.dup(0))
    while True:
        size, ends, _, _ = socket.recv_fds(requests, 8, 3)
        if not size:
            return
        facts = json.loads(_read(requests, int.from_bytes(size, "big")))
        answer, told = os.pipe()
        between = os.fork()
        if not between:
            child = os.fork()
            if not child:
                for end in (answer, told):
                    os.close(end)
                requests.close()
                become(facts, ends)
                return
            os.write(told, child.to_bytes(8, "big"))
            os._exit(0)
        os.waitpid(between, 0)
        requests.sendall(os.read(answer, 8))
        for end in (answer, told, *ends):
            os.close(end)


def _read(requests: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        parts += requests.recv(size - len(parts))
    return parts


def become(facts: dict[str, Any], ends: list[int]) -> None:
    """Carry out the command as a new process would."""
    if facts["session"]:
        os.setsid()
    for stream, end in enumerate(ends):
        os.dup2(end, stream)
        os.close(end)
    os.chdir(facts["cwd"])
    os.environ.clear()
    os.environ.update(facts["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir, intervals.REPLICATES = None, facts["replicates"]
    errors = sys.stdout.errors
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _text(1, errors)
    sys.stderr = sys.__stderr__ = _text(2, "backslashreplace")
    sys.argv = facts["argv"]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _text(stream: int, errors: str) -> io.TextIOWrapper:
    buffered = os.fdopen(stream, "wb", closefd=False)
    return io.TextIOWrapper(buffered, errors=errors, line_buffering=stream == 2 or os.isatty(stream))
