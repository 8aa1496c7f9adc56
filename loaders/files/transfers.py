"""The transfer of a file from Google Drive or any address; a broken transfer is continued, and repeated if that may
help.

Imported for a download only: gdown and requests are slow to import.
"""

import random
import time
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import gdown
import requests
from gdown.exceptions import DownloadError as DriveError
from gdown.exceptions import FileURLRetrievalError
from tqdm import tqdm

from loaders.files.sources import LATER, Remote, log
from toolbox import terminal
from toolbox.errors import DownloadError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30
ATTEMPTS = 4
BACKOFF_S = 1.0  # before the second attempt, twice as long before each further one
LONGEST_WAIT_S = 30  # of a server's Retry-After


def fetch(remote: Remote, part: Path) -> None:
    """Fetch `remote` into `part`, not verified; the bytes of a broken attempt are kept in its folder and continued.

    There is no second attempt if the server cannot be reached, refuses, or sends a page. Raises DownloadError, and
    OSError of the disk.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _attempt(remote, part)
            return
        except (DriveError, requests.RequestException) as error:
            wait_s = _asked_wait_s(error)
            if wait_s is None:
                wait_s = BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            if attempt == ATTEMPTS or wait_s > LONGEST_WAIT_S or not _may_pass(error, first=attempt == 1):
                what = f"cannot fetch {remote.name}: {_reason(error)}"
                raise DownloadError(what, where=remote.url, hint=LATER) from error
            log.info("%s; attempt %d of %d in %.0f s", _reason(error), attempt + 1, ATTEMPTS, wait_s)
            time.sleep(wait_s)


def _attempt(remote: Remote, part: Path) -> None:
    kept = {path: path.stat().st_size for path in part.parent.glob(f"{part.name}????????.part")}
    try:
        with terminal.bar(unit="B", unit_scale=True, desc=remote.name) as bar:
            gdown.download(
                remote.url, str(part), progress=partial(_show, bar),
                quiet=True, use_cookies=False, resume=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )  # fmt: skip
    except DriveError as error:
        useless = [path for path, size in kept.items() if path.stat().st_size == size]
        if isinstance(error, FileURLRetrievalError) or "incomplete" in str(error) or not useless:
            raise
        log.info("the server cannot continue the last transfer; starting again")
        for path in useless:
            path.unlink()
        _attempt(remote, part)


def _show(bar: tqdm, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _may_pass(error: Exception, *, first: bool) -> bool:
    """Whether another attempt may succeed: after a server under load, a stall, a broken connection."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code == requests.codes.too_many_requests or error.response.status_code >= 500
    if isinstance(error, FileURLRetrievalError) or (first and _never_connected(error)):
        return False
    return isinstance(error, DriveError | requests.ConnectionError | requests.Timeout)


def _never_connected(error: Exception) -> bool:
    """Whether the name, the port, the proxy or the certificate failed: only then urllib3 gives a reason."""
    return any(hasattr(cause, "reason") for cause in error.args)


def _asked_wait_s(error: Exception) -> float | None:
    """The seconds of the error's Retry-After (RFC 9110: a number or a date), None without one."""
    response = getattr(error, "response", None)
    text = "" if response is None else response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, requests.HTTPError):
        asked_s = _asked_wait_s(error)
        wait = f" and asks to wait {asked_s:.0f} s" if asked_s else ""
        return f"the server answers {error.response.status_code}{wait}"
    if isinstance(error, FileURLRetrievalError):
        return "Google Drive sends a web page instead, often a quota notice"
    if isinstance(error, DriveError):
        return "the transfer is incomplete"
    if isinstance(error, requests.Timeout) or "timed out" in text.lower():
        return "the server does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection" if _never_connected(error) else "the connection broke"
    return text
