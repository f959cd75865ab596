"""A real browser, Debian's chromium without a window, driven through its debugging pipe: no package is needed for that.

`python tests/browser.py URL FILE [WIDTHxHEIGHT]` keeps a picture of a page. Messages are JSON objects that end with a
zero byte; see the Chrome DevTools protocol. No name is resolved, so nothing but this machine can be reached.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    # It shall not ask its makers for anything.
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)
SECONDS = 60  # for an answer, on a busy machine


class Browser:
    """One page of a browser; what it asked for and what went wrong in it is kept."""

    def __init__(self, to: int, source: int) -> None:
        self.to, self.source = to, source
        self.pending = b""
        self.number = 0
        self.session: str | None = None
        self.requests: list[str] = []  # addresses
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; what happens in the meantime is noted."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer.get("method", ""), answer.get("params", {}))

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.pending:
            if not select.select([self.source], [], [], SECONDS)[0]:
                raise TimeoutError(f"the browser says nothing for {SECONDS} s")
            received = os.read(self.source, 1 << 20)
            if not received:
                raise EOFError("the browser has ended")
            self.pending += received
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event == "Network.loadingFailed":
            self.problems.append(f"not loaded: {about['errorText']}")
        elif event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """What JavaScript makes of an expression; None while it fails, as it does before a page is there."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return None if "exceptionDetails" in done else done["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of an expression when it is true in the end."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if value := self.value(expression):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"not true within {SECONDS} s: {expression}; problems: {self.problems}")

    def picture(self, width: int, height: int) -> bytes:
        """The page as PNG."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        time.sleep(1)  # charts are drawn anew for the size
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser(width: int = 1200, height: int = 700) -> Iterator[Browser]:
    """A fresh one, without history or settings."""
    assert CHROMIUM is not None
    (commands, to), (source, answers) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        # Its side of the pipes has to be 3 and 4; descriptors are given out in order, so 3 is not `answers`.
        command = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", CHROMIUM, *options]
        process = subprocess.Popen(
            command, pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        try:
            yield Browser(to, source)
        finally:
            os.close(to)  # it ends with the pipe
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(source)


def main() -> None:
    address, file, *size = sys.argv[1:]
    width, height = map(int, (size[0] if size else "1200x700").split("x"))
    with browser(width, height) as page:
        page.open(address)
        page.wait_for("document.readyState == 'complete'")
        time.sleep(2)
        Path(file).write_bytes(page.picture(width, height))


if __name__ == "__main__":
    main()
