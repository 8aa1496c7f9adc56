"""Pages as a browser reads them."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest


class Page(HTMLParser):
    """What a page loads from elsewhere."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value for name, value in attrs if name in ("src", "href", "data")]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


needs_browser = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")


def in_browser(page: Path, script: str) -> Any:
    """What `script`, the body of a function, returns once the page has loaded, in a window of 1400 x 900."""
    hook = f"<script>document.body.dataset.answer = JSON.stringify((() => {{ {script} }})());</script></body>"
    hooked = page.with_name("hooked.html")
    hooked.write_text(page.read_text().replace("</body>", hook))
    where = f"--user-data-dir={page.parent / 'browser'}"
    command = [BROWSER, *FLAGS, "--disable-sync", where, "--window-size=1400,900", "--dump-dom", hooked.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900)
    found = re.search('data-answer="([^"]*)"', ended.stdout)
    assert found, f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    return json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
