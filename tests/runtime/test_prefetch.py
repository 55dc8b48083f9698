import threading
import time

import pytest

from featurepaths.runtime.prefetch import read_ahead, write_behind


def test_read_ahead_items_come_in_order_from_thread():
    threads = set()

    def items():
        for number in range(20):
            threads.add(threading.get_ident())
            yield number

    assert list(read_ahead(items())) == list(range(20))
    assert threading.get_ident() not in threads
    assert list(read_ahead([])) == []


def test_read_ahead_is_bounded_by_depth():
    computed = []
    results = read_ahead((computed.append(number) or number for number in range(10)), depth=3)
    next(results)
    time.sleep(0.1)
    assert computed == [0, 1, 2, 3]
    results.close()


def test_read_ahead_error_arrives_in_order():
    def items():
        yield 1
        raise KeyError("broken")

    results = read_ahead(items())
    assert next(results) == 1
    with pytest.raises(KeyError, match="broken"):
        next(results)


def test_write_behind_calls_finish_in_order():
    done = []
    with write_behind() as call:
        for number in range(20):
            call(lambda n: (time.sleep(0.001), done.append(n)), number)
    assert done == list(range(20))


def test_write_behind_is_bounded_by_depth():
    release, started = threading.Event(), []

    def work(number):
        started.append(number)
        release.wait(5)

    with write_behind(depth=2) as call:
        call(work, 0)
        call(work, 1)
        third = threading.Thread(target=call, args=(work, 2))
        third.start()
        third.join(0.1)
        assert third.is_alive(), "the third call should wait for the first"
        release.set()
        third.join()
    assert started == [0, 1, 2]


def test_write_behind_error_is_raised():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), write_behind() as call:
        call(fail)
