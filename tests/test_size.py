"""The package stays within the limits of its size."""

from tests import size

CODE_LINES, RULE_LINES, ENTRIES, FILE_LINES = 13720, 1120, 20, 300
"""The size may only shrink: lower a limit when the package has become smaller."""


def test_package_code_lines_within_limit():
    assert sum(size.code_lines_per_room().values()) <= CODE_LINES


def test_rules_lines_within_limit():
    assert size.rule_lines() <= RULE_LINES


def test_package_entries_within_limit():
    assert len(size.entries()) <= ENTRIES


def test_package_files_none_too_long():
    assert size.long_files(FILE_LINES) == {}


def test_code_lines_module_counted_without_blanks_comments_and_docstrings(tmp_path):
    path = tmp_path / "module.py"
    blank, code = ["", "# a comment", '"""Two', 'lines."""'], ["X = [  # a comment", "    1,", "]", 'Y = """a', 'b"""']
    function = ["def f():", '    """One."""', "    return X"]
    path.write_text("\n".join([*blank[2:], *code[:2], *blank[:2], *code[2:], *function]))
    assert size.code_lines(path) == len(code) + 2
