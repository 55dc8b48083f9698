"""The process of a stage: how it starts, and how it ends on errors and signals."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from threadpoolctl import threadpool_limits

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.run_lock import join


def run_safely(work: Callable[[], None], *, network: bool = False) -> None:
    """Do the work of one or several stages, and end the process on errors and signals.

    `network`: whether it runs a network, so that torch can be imported beforehand. Modules stay until the end: the
    garbage collector is not to look through torch's while they are imported, during the work, and when Python ends,
    which takes 0.7 s otherwise.

    An error that the user can fix prints one message and exits with code 1. Linear algebra gets one thread: sums differ
    in their last bits with the number of threads. A stage that runs a network sets torch's own threads.
    """
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        sys.exit(128 + signal.SIGTERM)  # so that half-written files go

    for number in (signal.SIGTERM, signal.SIGALRM):  # the latter: see `_but_echoes`
        signal.signal(number, stop)
    sys.excepthook, sys.unraisablehook = _but_echoes(sys.excepthook), _but_echoes(sys.unraisablehook)
    at_work = join(os.environ.get("FEATUREPATHS_AT_WORK", ""))  # noqa: F841 (held until the end)
    try:
        if network:
            gc.disable()
            import_module("torch")
            gc.enable()
        gc.freeze()
        with threadpool_limits(1, user_api="blas"):
            work()
    except FeaturePathsError as error:
        if stopped:  # a library reports an exit in the middle of its work as an error of the file that it reads
            sys.exit(128 + signal.SIGTERM)
        print(f"Error: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)  # at once: after a write that failed HDF5 can crash while Python ends
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        if stopped:  # Python makes another error of an exit in the middle of a class that is being imported
            sys.exit(128 + signal.SIGTERM)
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGALRM):  # nothing is left to stop but Python itself, which ends
            signal.signal(number, signal.SIG_IGN)
        gc.freeze()


def _but_echoes(hook: Callable[..., None]) -> Callable[..., None]:
    """Return a hook of `sys` that keeps quiet about what HDF5 says again of each object when a write has failed.

    Nor does it report an exit that was asked for in the middle of a callback that Python ignores all errors of, such as
    that of a weak reference: it asks once more, a moment later.
    """

    def filtered(*arguments: Any) -> None:
        if any(isinstance(getattr(item, "exc_value", None), SystemExit) for item in arguments):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        elif not any("decrement id ref count" in str(getattr(item, "exc_value", item)) for item in arguments):
            hook(*arguments)

    return filtered
