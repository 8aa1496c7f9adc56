"""Pages as a browser reads them."""

import json
import re
import shutil
import subprocess
from html import unescape
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


# Collects the errors of a page from its first line on; runs a script half a second after the page has loaded.
FAULTS = """<script>
window.faults = [];
addEventListener("error", event => faults.push(event.message ?? `cannot load ${event.target.src}`), true);
addEventListener("unhandledrejection", event => faults.push(`${event.reason}`));
addEventListener("securitypolicyviolation", event => faults.push(`${event.violatedDirective} ${event.blockedURI}`));
const report = console.error;
console.error = (...words) => { faults.push(words.join(" ")); report(...words); };
</script>"""
ANSWER = """<script>
addEventListener("load", () => setTimeout(async () => {
  const found = await (async () => { SCRIPT })();
  const answer = JSON.stringify([faults, found ?? null]);
  parent === window ? document.body.dataset.answer = answer : parent.postMessage(answer, "*");
}, 500));
</script></body>"""
# A window of chromium is at least 500 pixels wide, a frame is not.
FRAME = """<body style="margin: 0"><iframe src="hooked.html" style="border: 0; width: {}px; height: 900px"></iframe>
<script>addEventListener("message", event => document.body.dataset.answer = event.data);</script>"""


def in_browser(page: Path, script: str, *, width: int = 1400) -> Any:
    """The value of `script`, the body of an async function, once the page has loaded; the page has no error."""
    opened = hooked = page.with_name("hooked.html")
    if width < 500:
        opened = page.with_name("frame.html")
        opened.write_text(FRAME.format(width))
    text = page.read_text().replace('<meta charset="utf-8">', f'<meta charset="utf-8">{FAULTS}', 1)
    hooked.write_text(text.replace("</body>", ANSWER.replace("SCRIPT", script)))
    where = f"--user-data-dir={page.parent / 'browser'}"
    command = [
        BROWSER,
        *FLAGS,
        "--disable-sync",
        where,
        f"--window-size={max(width, 500)},900",
        "--virtual-time-budget=20000",
    ]
    ended = subprocess.run([*command, "--dump-dom", opened.as_uri()], capture_output=True, text=True, timeout=900)
    answer = re.search('data-answer="([^"]*)"', ended.stdout)
    assert answer, f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    faults, found = json.loads(unescape(answer[1]))
    assert faults == []
    return found
