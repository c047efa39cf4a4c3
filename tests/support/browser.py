"""A headless Chromium that opens pages, over the pipe of its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.servers import skip_or_fail

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
    "--allow-file-access-from-files",
)
_TIMEOUT_S = 60.0
_HIGH = 20  # of file descriptors: 3 and 4 are the ones that Chromium reads and writes

_FOCUSABLE = "a[href],button,input:not([type=hidden]),select,textarea,summary,[tabindex='0']"
# A folded section hides what is in it; only its summary can be reached.
_REACHABLE = f"""[...document.querySelectorAll("{_FOCUSABLE}")].filter(e => e.checkVisibility())"""


class Browser:
    """A browser with one process and many pages.

    Args:
        folder: A folder for its profile.
    """

    def __init__(self, folder: Path) -> None:
        chromium = shutil.which("chromium") or ""
        if not chromium:
            skip_or_fail("Chromium is not installed")
        for_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, _HIGH) for end in (for_browser, from_browser)]
        redirected = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, chromium, *_OPTIONS, f"--user-data-dir={folder}"],
            pass_fds=ends,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (*ends, for_browser, from_browser):
            os.close(end)
        self._number = 0
        self._buffer = b""
        self.pages: dict[str, Page] = {}

    def open(self, url: str, *, width: int = 1280, dark: bool = False) -> Page:
        """Return a page after it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = self.pages[attached["sessionId"]] = Page(self, attached["sessionId"], width)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.resize(900)
        page.go(url)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Return the answer to a command; events that come before it go to their pages."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        end = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            self._buffer += os.read(self._in, 1 << 20) or b"\0"
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if (page := self.pages.get(message.get("sessionId", ""))) is not None:
            page.take(message)
        return message

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


class Page:
    """A page: ``console`` has what stands there, ``requests`` the addresses that it asked for."""

    def __init__(self, browser: Browser, session: str, width: int) -> None:
        self._browser = browser
        self._session = session
        self._width = width
        self._loaded = False
        self.console: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the answer to a command about this page."""
        return self._browser.call(method, self._session, **parameters)

    def take(self, message: dict[str, Any]) -> None:
        """Take an event."""
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str([value.get("value") for value in parameters["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"]["text"]))

    def go(self, url: str) -> None:
        """Open another address, and wait until it has loaded."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._browser.read()

    def resize(self, height: int) -> None:
        """Set the height of the window in pixels."""
        size = {"width": self._width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=False)

    def run(self, script: str) -> Any:
        """Return the value of a script, which may be a promise."""
        arguments = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **arguments)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"])[:1000])
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until a script is true."""
        end = time.monotonic() + _TIMEOUT_S
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(f"the page never had {script}")
            time.sleep(0.1)

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Write a screenshot as PNG, of the whole page or of the window."""
        if whole:
            height = min(6000, int(self.run("document.documentElement.scrollHeight")))
            self.resize(max(300, height))
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def unreachable(self) -> list[str]:
        """Return the links, buttons and fields that the Tab key does not reach."""
        count = int(self.run(f"window.all = {_REACHABLE}; all.length"))
        self.run("window.reached = new Set(); document.activeElement.blur()")
        for _ in range(count + 2):
            for kind in ("rawKeyDown", "keyUp"):
                key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
                self.call("Input.dispatchKeyEvent", type=kind, **key)
            self.run("reached.add(document.activeElement); 0")
        missed = "all.filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 200))"
        return list(self.run(missed))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="yprov-", ignore_cleanup_errors=True) as folder:
        running = Browser(Path(folder))
        try:
            yield running
        finally:
            running.close()
