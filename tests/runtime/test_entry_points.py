import re
import sys

import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.entry_points import FACTORY, call_factory, factory_digest, load_factory


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory; its modules are unloaded afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_factory_in_working_directory_is_loaded(folder):
    (folder / "own_module.py").write_text("def double(value):\n    return 2 * value\n")
    assert load_factory("own_module:double")(3) == 6
    assert call_factory("own_module:double", {"value": 4}) == 8


def test_factory_in_nested_module_is_loaded(folder):
    (folder / "own_package/deep").mkdir(parents=True)
    (folder / "own_package/deep/module.py").write_text("def one():\n    return 1\n")
    assert load_factory("own_package.deep.module:one")() == 1


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("own_nothing:make", "", "there is no module 'own_nothing'"),
        ("own_module.deeper:make", "", "there is no module 'own_module.deeper'"),
        ("sys:exit", "", "there is no module 'sys'"),
        ("own_module:make", "def maker(): ...", r"own_module\.py has no function 'make'\. Did you mean 'maker'\?"),
        ("own_module:make", "make = 3", r"own_module\.py has no function 'make'\.$"),
        (
            "own_module:make",
            "import own_missing",
            r"cannot be imported \(ModuleNotFoundError: No module named 'own_miss",
        ),
        ("own_module:make", "1 / 0", r"cannot be imported \(ZeroDivisionError: .*own_module\.py, line 1\)"),
        ("own_module:make", "def make(", r"cannot be imported \(SyntaxError"),
    ],
)
def test_factory_invalid_error_names_cause(folder, text, code, expected):
    (folder / "own_module.py").write_text(code)
    with pytest.raises(FeaturePathsError, match=expected):
        load_factory(text)


def test_factory_raising_error_names_line(folder):
    (folder / "own_module.py").write_text("def make(size):\n    raise KeyError(size)\n")
    with pytest.raises(FeaturePathsError, match=r"own_module:make failed \(KeyError: 3, in .*own_module\.py, line 2\)"):
        call_factory("own_module:make", {"size": 3})
    with pytest.raises(FeaturePathsError, match="unexpected keyword argument 'sise'"):
        call_factory("own_module:make", {"sise": 3})


def test_factory_digest_follows_code_without_import(folder):
    (folder / "own_module.py").write_text("raise SystemExit")
    first = factory_digest("own_module:make")
    assert first == factory_digest("own_module:other")
    (folder / "own_module.py").write_text("raise SystemExit(1)")
    assert factory_digest("own_module:make") != first
    assert "own_module" not in sys.modules


def test_factory_digest_of_package_covers_all_modules(folder):
    package = folder / "own_package"
    package.mkdir()
    for name in ("__init__.py", "data.py", "helper.py"):
        (package / name).write_text("raise SystemExit")
    digests = [factory_digest("own_package.data:make")]
    (package / "helper.py").write_text("")
    digests.append(factory_digest("own_package.data:make"))
    (package / "helper.py").rename(package / "helpers.py")
    digests.append(factory_digest("own_package.data:make"))
    (package / "notes.txt").write_text("no code")
    assert factory_digest("own_package.data:make") == digests[-1]
    assert len(set(digests)) == 3
    assert not [name for name in sys.modules if name.startswith("own_package")]


def installed(place, package, *, version="1.0", record=True, files=None):
    """Write a distribution as pip installs it."""
    information = place / f"{package}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (information / "top_level.txt").write_text(f"{package}\n")
    if record:
        (information / "RECORD").write_text(files or f"{package}/__init__.py,,\n")


def test_factory_digest_of_installed_package_is_its_version(folder, tmp_path_factory, monkeypatch):
    site = tmp_path_factory.mktemp("site")
    (site / "own_library").mkdir()
    (site / "own_library/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(site))
    by_contents = factory_digest("own_library:make")
    installed(site, "own_library")
    first = factory_digest("own_library:make")
    (site / "own_library/__init__.py").write_text("# edited in place")
    assert factory_digest("own_library:make") == first != by_contents
    (site / "own_library-1.0.dist-info").rename(site / "gone")
    installed(site, "own_library", version="1.1")
    assert factory_digest("own_library:make") not in (first, by_contents)


def test_factory_digest_of_checkout_follows_code(folder, tmp_path_factory, monkeypatch):
    """An editable installation is in another folder than its metadata; its version does not change with an edit."""
    site = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(str(site))
    installed(site, "own_library")
    (folder / "own_library").mkdir()
    (folder / "own_library/__init__.py").write_text("")
    first = factory_digest("own_library:make")
    (folder / "own_library/__init__.py").write_text("edited = True")
    assert factory_digest("own_library:make") != first


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("module:make", True),
        ("a.b_2.c:Make_it", True),
        ("module", False),
        ("module.make", False),
        ("module:", False),
        (":make", False),
        ("a..b:make", False),
        ("./a:make", False),
        ("a:Class.method", True),
        ("a:b.", False),
        ("a:make()", False),
    ],
)
def test_factory_pattern_accepts_only_valid_names(text, right):
    assert bool(re.search(FACTORY, text)) == right
