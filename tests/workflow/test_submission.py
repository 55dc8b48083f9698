"""Paths in submissions, against how the shell splits them."""

import shlex
import sys
from types import SimpleNamespace

import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.workflow.submission import check_python, quote_status_command


@pytest.mark.parametrize("folder", ["/opt/a b", "/opt/a;b", "/opt/$a", "/opt/a(1)", "/opt/it's"])
def test_python_whose_path_a_shell_changes_is_refused(monkeypatch, folder):
    monkeypatch.setattr(sys, "executable", f"{folder}/bin/python")
    with pytest.raises(FeaturePathsError, match="bin/python"):
        check_python()


@pytest.mark.parametrize("folder", ["/opt/a-b_c.d", "/home/müller", "/home/x@y/a+b,c=d"])
def test_python_whose_path_a_shell_keeps_is_accepted(monkeypatch, folder):
    monkeypatch.setattr(sys, "executable", f"{folder}/bin/python")
    assert shlex.split(sys.executable) == [sys.executable]
    check_python()


def test_status_script_is_quoted_and_a_command_stays(tmp_path):
    script = tmp_path / "a b" / "status.sh"
    script.parent.mkdir()
    script.touch()
    for command, expected in ((str(script), [str(script)]), ("qstat -f", ["qstat", "-f"]), ("x" * 5000, ["x" * 5000])):
        settings = SimpleNamespace(status_cmd=command)
        quote_status_command(settings)
        assert shlex.split(settings.status_cmd) == expected
    quote_status_command(SimpleNamespace())
