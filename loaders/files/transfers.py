"""One file comes over the network, from Google Drive or any address; what breaks is gone on with, asked for again where
it helps.

Imported only once something is to be fetched: gdown and requests take their time.
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
LONGEST_WAIT_S = 30  # that a server may ask for


def fetch(remote: Remote, part: Path) -> None:
    """Bring `remote` to `part`, not verified; what a broken attempt brought is kept beside it and gone on with.

    A server that cannot be reached, refuses, or sends a page is not asked again. Raises DownloadError, and OSError of
    the disk.
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
                raise DownloadError(
                    f"cannot fetch {remote.name}: {_reason(error)}", where=remote.url, hint=LATER
                ) from error
            log.info("%s; attempt %d of %d in %.0f s", _reason(error), attempt + 1, ATTEMPTS, wait_s)
            time.sleep(wait_s)


def _attempt(remote: Remote, part: Path) -> None:
    kept = {path: path.stat().st_size for path in part.parent.glob(f"{part.name}????????.part")}
    how = {"quiet": True, "use_cookies": False, "resume": True, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
    try:
        with terminal.bar(unit="B", unit_scale=True, desc=remote.name) as bar:
            gdown.download(remote.url, str(part), progress=partial(_show, bar), **how)
    except DriveError as error:
        useless = [path for path, size in kept.items() if path.stat().st_size == size]
        if isinstance(error, FileURLRetrievalError) or "incomplete" in str(error) or not useless:
            raise
        log.info("the server does not go on where the last transfer ended; starting again")
        for path in useless:
            path.unlink()
        _attempt(remote, part)


def _show(bar: tqdm, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _may_pass(error: Exception, *, first: bool) -> bool:
    """Whether the fault is one of the moment: a server under load, a stall, a connection that broke."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code == requests.codes.too_many_requests or error.response.status_code >= 500
    if isinstance(error, FileURLRetrievalError) or (first and _never_connected(error)):
        return False
    return isinstance(error, DriveError | requests.ConnectionError | requests.Timeout)


def _never_connected(error: Exception) -> bool:
    """Whether there is no name, nobody listening, no proxy or no trust: urllib3 gives a reason to that, and to nothing
    else."""
    return any(hasattr(cause, "reason") for cause in error.args)


def _asked_wait_s(error: Exception) -> float | None:
    """The seconds of a Retry-After (RFC 9110: a number or a date) that came with the error; None without."""
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
        return f"the server answers {error.response.status_code}" + (
            f" and asks for {asked_s:.0f} s" if asked_s else ""
        )
    if isinstance(error, FileURLRetrievalError):
        return "Google Drive sends a web page in its place, often a quota notice"
    if isinstance(error, DriveError):
        return "the transfer is incomplete"
    if isinstance(error, requests.Timeout) or "timed out" in text.lower():
        return "the server does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection" if _never_connected(error) else "the connection broke"
    return text
