"""Real processes of the program without the seconds of its imports: a server that has them forks one for each command.

    process = Preloaded([sys.executable, "commander.py", "--help"], env=..., stdout=subprocess.PIPE)

The command is a child of the test like any other, with its own process id, streams, environment and signals. For what
the server cannot give (another program or system, `preexec_fn`, variables that are read by an import) it is started in
the ordinary way. `limits` are data, so that limited commands are forked too. A forked command draws as many bootstrap
replicates as one that is carried out by the test itself.
"""

import atexit
import ctypes
import gc
import importlib
import inspect
import io
import json
import os
import re
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from toolbox.metrics import intervals

ROOT = Path(__file__).parents[2]
SCRIPTS = (ROOT / "commander.py", ROOT / "research.py", ROOT / "benchmarks" / "ways.py")
IMPORTED = (
    "torch._dynamo", "commands.fit", "commands.evaluate", "commands.predict.recordings", "commands.explain.rows",
    "commands.data", "toolbox.reports.plots", "toolbox.tasks.classify", "toolbox.tasks.detect", "loaders.families.rows",
    "loaders.synthetic.beats", "models.signals.cnn1d", "studies.stages", "studies.runner", "pandas",
)  # fmt: skip
READ_BY_IMPORTS = (
    "OMP_", "MKL_", "KMP_", "CUDA", "TORCH", "PYTHON", "MPL", "HOME", "XDG_", "LD_", "LC_", "LANG", "DASK",
)  # fmt: skip
SUBREAPER = 36  # of prctl: an orphan below this process becomes its child
START = "import sys; sys.path += ['tests']; from helpers import preloaded; preloaded.serve()"
EXECUTE = inspect.signature(subprocess.Popen._execute_child)


class Preloaded(subprocess.Popen):
    """A subprocess.Popen that is forked where its command is a script of this program, unless it is to be `cold`.

    `limits` are those of `restrict`.
    """

    _server: socket.socket | None = None

    def __init__(self, *args: Any, limits: Mapping[str, int] = {}, cold: bool = False, **how: Any) -> None:
        self._limits, self._cold = dict(limits), cold
        super().__init__(*args, **how)

    def _execute_child(self, *given: Any) -> None:
        bound = EXECUTE.bind(self, *given)
        asked = bound.arguments
        env = dict(os.environ if asked["env"] is None else asked["env"])
        if self._cold or not self._can_be_forked(asked, env):
            if self._limits:
                asked["preexec_fn"] = partial(restrict, self._limits)
            super()._execute_child(*bound.args[1:])
            return
        ends = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        facts = {
            "argv": [os.fspath(word) for word in asked["args"][1:]],
            "env": env,
            "cwd": os.fspath(asked["cwd"] or Path.cwd()),
            "session": asked["start_new_session"],
            "replicates": intervals.REPLICATES,
            "limits": self._limits,
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
            Path(args[1]) in SCRIPTS
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
    gc.collect()
    gc.freeze()  # a child that collected them would copy their memory
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


class Capabilities(ctypes.Structure):
    """The head and the two halves of what capget and capset exchange with the kernel."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int), ("sets", ctypes.c_uint32 * 6))


def restrict(limits: Mapping[str, int]) -> None:
    """Limit this process: RLIMIT_FSIZE and others of the kernel in bytes, `memory` in bytes beyond what it has now, and
    `permissions`, which then hold for it although it is root."""
    for name, value in limits.items():
        if name == "permissions":
            _obey_permissions()
            continue
        if name == "memory":
            status = Path("/proc/self/status").read_text()
            name, value = "RLIMIT_AS", value + 1024 * int(re.search(r"VmSize:\s+(\d+)", status)[1])
        if name == "RLIMIT_FSIZE":
            write_no_modules()
        resource.setrlimit(getattr(resource, name), (value, value))


def write_no_modules() -> None:
    """Let this process and its children keep no compiled modules: below a limit to file size Python keeps the beginning
    of one, which then fails wherever it is imported."""
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def _obey_permissions() -> None:
    libc, overriding, drop_from_bounding_set = ctypes.CDLL(None), (1, 2), 24  # writing, reading
    own = Capabilities(version=0x20080522, pid=0)
    head, sets = ctypes.byref(own), ctypes.byref(own, Capabilities.sets.offset)
    libc.capget(head, sets)
    for capability in overriding:
        libc.prctl(drop_from_bounding_set, capability)
        for held in (0, 1):  # effective, permitted
            own.sets[held] &= ~(1 << capability)
    libc.capset(head, sets)


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
    restrict(facts["limits"])
    errors = sys.stdout.errors
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _text(1, errors)
    sys.stderr = sys.__stderr__ = _text(2, "backslashreplace")
    sys.argv = facts["argv"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code or 0)  # without the seconds in which the interpreter takes its modules apart


def _text(stream: int, errors: str) -> io.TextIOWrapper:
    buffered = os.fdopen(stream, "wb", closefd=False)
    return io.TextIOWrapper(buffered, errors=errors, line_buffering=stream == 2 or os.isatty(stream))
