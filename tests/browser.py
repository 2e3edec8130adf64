"""A headless Chromium for tests, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
]  # fmt: skip
TEXT = """function text(node) {
  if (node.nodeType === 3) return node.data;
  if (["SCRIPT", "STYLE"].includes(node.nodeName)) return "";
  const inside = [...node.childNodes, ...(node.shadowRoot ? [node.shadowRoot] : [])];
  return inside.map(text).join(" ");
}"""
CLICK = """function click(node, label) {
  if (node.nodeType === 1 && (node.title === label || node.textContent.trim() === label)) {
    const inner = [...node.children].some(child => click(child, label));
    if (!inner) node.click();
    return true;
  }
  const inside = [...(node.children ?? []), ...(node.shadowRoot ? [node.shadowRoot] : [])];
  return inside.some(child => click(child, label));
}"""


class Refused(Exception):
    """The browser cannot do what it was told."""


class Browser:
    """One page; what it asked the network for, and what it complained about."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def __aenter__(self) -> Browser:
        assert CHROMIUM is not None
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = await self._port()
        self.session = aiohttp.ClientSession()
        async with self.session.get(f"http://127.0.0.1:{port}/json") as answer:
            pages = [page for page in await answer.json() if page["type"] == "page"]
        self.socket = await self.session.ws_connect(
            pages[0]["webSocketDebuggerUrl"], max_msg_size=0
        )
        self.numbers = itertools.count(1)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()
        self.process.terminate()
        self.process.wait(timeout=30)
        shutil.rmtree(self.profile, ignore_errors=True)

    async def _port(self) -> str:
        file = Path(self.profile) / "DevToolsActivePort"
        for _ in range(2400):
            if file.exists() and (lines := file.read_text().splitlines()):
                return lines[0]
            await asyncio.sleep(0.05)
        raise TimeoutError("Chromium did not start")

    async def call(self, method: str, **params: Any) -> Any:
        """Send a command, and take note of events until its answer is there."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = json.loads((await asyncio.wait_for(self.socket.receive(), 300)).data)
            self._note(message)
            if message.get("id") == number:
                if "error" in message:
                    raise Refused(message["error"]["message"])
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(str(params["entry"]))

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression yields."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def open(self, page: Path | str, width: int) -> None:
        """Open a file or a URL in a window so wide, and wait until it is there."""
        url = page if isinstance(page, str) else page.as_uri()
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        await self.call("Page.navigate", url=url)
        for _ in range(2400):
            if await self.value("document.readyState") == "complete":
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{url} did not load")

    async def text(self) -> str:
        """What the page says, in shadow roots too."""
        return " ".join(str(await self.value(f"({TEXT})(document)")).split())

    async def wait_for_text(self, *wanted: str) -> str:
        """What the page says, once it says all that is wanted."""
        text = ""
        for _ in range(600):
            with suppress(Refused):  # the page is on its way to another
                text = await self.text()
            if all(word in text for word in wanted):
                return text
            await asyncio.sleep(0.5)
        raise AssertionError(f"{wanted} not in: {text[:3000]}")

    async def click(self, label: str) -> None:
        """Click what has exactly this text, or this title."""
        assert await self.value(f"({CLICK})(document, {json.dumps(label)})"), label

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def screenshot(self, file: Path) -> None:
        """Keep a picture of what the window shows."""
        shot = await self.call("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(shot["data"]))
