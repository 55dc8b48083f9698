"""Times every Python process that starts with this folder on its path, where FEATUREPATHS_PROFILE names another folder.

Each process leaves a JSON file there: its command, and its CPU seconds of imports, passes, everything else and its end.
A pass is a call of a torch module, or a run of autograd's engine; the defence is a module too, and only its encoder's
passes count. All threads count, as what the main thread does. The start of the interpreter counts as import.

A process that has imported torch takes half a second to end, after everything that it could time itself. Therefore the
work is done in a fork, and the process that was started waits for it and reads the kernel's account.
"""

import _frozen_importlib
import atexit
import functools
import json
import os
import sys
import threading
import time
from pathlib import Path


class Clock:
    """CPU seconds of this process by what its main thread does."""

    def __init__(self):
        self.since = time.process_time()
        self.seconds = {"imports": self.since, "passes": 0.0, "other": 0.0}
        self.activity = "other"

    def switch(self, activity):
        """Begin an activity, and return the one that ends."""
        now = time.process_time()
        self.seconds[self.activity] += now - self.since
        before, self.activity, self.since = self.activity, activity, now
        return before

    def timed(self, activity, function, counts=lambda *arguments: True):
        """Return the function, whose time is that of an activity where its arguments count."""

        @functools.wraps(function)
        def call(*arguments, **options):
            on_main = threading.current_thread() is threading.main_thread()
            if self.activity == activity or not on_main or not counts(*arguments):
                return function(*arguments, **options)
            before = self.switch(activity)
            try:
                return function(*arguments, **options)
            finally:
                self.switch(before)

        return call


def install(path):
    """Time this process until it ends, and write its record to `path`."""
    clock = Clock()
    importing = clock.timed("imports", _frozen_importlib._find_and_load)
    torch_is_timed = False

    def find_and_load(*arguments):
        nonlocal torch_is_timed
        module = importing(*arguments)
        if not torch_is_timed and clock.activity != "imports" and "torch" in sys.modules:
            torch_is_timed = True
            time_passes(clock, sys.modules["torch"])
        return module

    def write():
        clock.switch("other")
        package = sys.modules.get("featurepaths")
        record = {"command": sys.orig_argv, "seconds": clock.seconds, "source": package and package.__file__}
        path.write_text(json.dumps(record))

    _frozen_importlib._find_and_load = find_and_load
    atexit.register(write)


def time_passes(clock, torch):
    """Time torch's modules, forward and backward."""
    module = torch.nn.Module
    module.__call__ = clock.timed(
        "passes", module.__call__, lambda called, *_: not type(called).__module__.startswith("featurepaths.defense")
    )
    torch.autograd._engine_run_backward = clock.timed("passes", torch.autograd._engine_run_backward)


def wait_for(process, path):
    """Wait for the fork, add its end to its record, and end as it did."""
    _, status, usage = os.wait4(process, 0)
    if path.exists():
        record = json.loads(path.read_text())
        record["seconds"]["end"] = usage.ru_utime + usage.ru_stime - sum(record["seconds"].values())
        path.write_text(json.dumps(record))
    os._exit(os.waitstatus_to_exitcode(status) % 256)


if folder := os.environ.get("FEATUREPATHS_PROFILE"):
    path = Path(folder, f"{os.getpid()}.{time.monotonic_ns()}.json")
    if process := os.fork():
        wait_for(process, path)
    install(path)
