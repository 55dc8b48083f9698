"""A headless Chromium of Debian's packages chromium and chromium-driver, without a network, and what it logged."""

import base64
import json
import shutil
import time
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WAIT = 20
"""Seconds after which a page that is not ready counts as broken."""
OWN = ("file:", "data:", "blob:")
"""Addresses that need no network."""


def why_not():
    """Why there is no browser here, or None."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} missing: install Debian's chromium and chromium-driver" if missing else None


class Browser:
    """A browser with one page."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, ready, colours="light"):
        """Open a page in light or dark colours, and wait until an expression is true."""
        media = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # of the page before
        self.driver.get(path.as_uri())
        self.wait(ready)

    def run(self, script, *arguments):
        """The result of a function's body."""
        return self.driver.execute_script(script, *arguments)

    def value(self, expression):
        """The value of an expression."""
        return self.run(f"return {expression}")

    def wait(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} is not true after {WAIT} s: {self.errors()}"
            time.sleep(0.02)

    def press(self, key):
        """Press a key, such as ArrowDown, where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key})

    def texts(self, selector):
        """The texts of all elements of a selector."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)", selector)

    def expect(self, selector, texts, seconds=10):
        """Assert that the texts of all elements of a selector become these: tables sort and filter after an event."""
        end = time.monotonic() + seconds
        while self.texts(selector) != texts and time.monotonic() < end:
            time.sleep(0.05)
        assert self.texts(selector) == texts

    def choose(self, control, value):
        """Choose an option, as a reader does."""
        script = "const select = document.getElementById(arguments[0]); select.value = arguments[1];"
        self.run(script + "select.dispatchEvent(new Event('change'))", control, value)

    def pixels(self, selector):
        """The pixels of a canvas, [height, width, 4], as lists."""
        return self.run(
            "const canvas = document.querySelector(arguments[0]), { width, height } = canvas;"
            "const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);"
            "return [height, width, Array.from(data)]",
            selector,
        )

    def screenshot(self, path):
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.driver.get_screenshot_as_base64()))

    def errors(self):
        """The errors that the page wrote to its console since it was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self):
        """The addresses outside of the page that it asked for since it was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        assert sent, "the log has not even the page itself"
        return [each["request"]["url"] for each in sent if not each["request"]["url"].startswith(OWN)]


@contextmanager
def chromium(width=1280, height=900):
    """Start a browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
