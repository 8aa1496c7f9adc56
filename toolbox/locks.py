"""A folder is held against other processes by the kernel, which lets go of it when its holder dies."""

import fcntl
import logging
from contextlib import suppress

log = logging.getLogger("commander")


def lock(handle: int, work: str) -> bool:
    """Lock an open folder; true if another process, that does the `work`, had to be waited for."""
    with suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that %s", work)
            fcntl.flock(handle, fcntl.LOCK_EX)
            return True
    return False
