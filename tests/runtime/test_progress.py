import io

from featurepaths.runtime import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_in_log_file_prints_lines(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    assert list(progress.progress(iter("abc"), "work", 3, "letters")) == ["a", "b", "c"]
    lines = stream.getvalue().splitlines()
    assert [line.rpartition(",")[0] for line in lines] == [f"work: {n} of 3 letters" for n in (1, 2, 3)]


def test_progress_on_terminal_shows_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    assert list(progress.progress(range(3), "work", 3)) == [0, 1, 2]
    assert "work: 100%" in stream.getvalue()
    assert "\r" in stream.getvalue()
