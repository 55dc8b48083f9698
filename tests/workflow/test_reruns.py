"""Reruns after a change: all that depends on it, and nothing else.

Each change is made to an experiment that is complete, and a dry run of Snakemake names the jobs. The changes and what
they start are the table in docs/reruns.md, which `make readme` writes.
"""

import base64
import copy
import functools
import os
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from featurepaths.store.tensors import read_tensors, write_tensors
from tests.experiments import ROOT, small_experiment
from tests.processes import Workflow, jobs

EXPERIMENT = small_experiment(
    "two",
    training={
        "standard": {"epochs": 1, "learning_rate": 0.05},
        "adversarial": {"epochs": 1, "learning_rate": 0.05, "adversary": {"method": "single-step", "eps": "1/10"}},
    },
    attacks={
        "strong": {"eps": "1/10", "iterations": 3, "stopping_rule": ["max-loss"]},
        "weak": {"eps": "1/20", "iterations": 2, "stopping_rule": ["first-success"]},
    },
    calibration={"attack": "strong", "stopping_rule": "max-loss"},
    detectors=["confidence"],
    adaptive={
        "attack": "strong",
        "max_images": 64,
        "iterations": 2,
        "losses": ["ce"],
        "n_targets": 0,
        "controls": {"max_images": 10, "eps_multiples": [0, 8], "iterations": [2], "restarts": 0, "n_queries": 5},
    },
)
RUN = {
    "train": 1,
    "attack": 4,  # both on calibration and test images
    "features": 1,
    "attacked_features": 4,
    "clean_paths": 1,
    "attacked_paths": 3,  # of attacked calibration images, and of test images under two attacks
    "calibration": 1,
    "evaluation": 2,
    "run_figures": 2,
    "detectors": 1,
    "detector_evaluation": 1,
    "adaptive": 1,
    "worst_case": 1,
    "controls": 1,
}
"""The jobs of one of the two runs."""
STREAMED = ("streamed_classes", "streamed_paths")
"""Jobs that replace some of these where features are streamed."""
ENDS = {"tables": 1, "summary_figures": 1, "comparison": 1, "comparison_figures": 1, "explorer": 1, "configuration": 1}
TOTAL = 2 * sum(RUN.values()) + sum(ENDS.values()) + 1


def both(**of_a_run):
    """The jobs of two runs."""
    return {rule: 2 * count for rule, count in of_a_run.items()}


TRAINED = both(**RUN) | ENDS
EVERYTHING = TRAINED | {"data": 1}
SHOWN = {"tables": 1, "configuration": 1}
COMPARED = {"comparison": 1, "comparison_figures": 1, "configuration": 1}
EXPLORED = {"explorer": 1}
JUDGED = both(adaptive=1, worst_case=1, controls=1) | COMPARED | EXPLORED
"""The jobs of those who know the defence."""
ADAPTIVE_FIGURES = both(run_figures=1)
"""The figures that show the worst case: those of the attack that the adaptive ones start from."""
EVALUATED = both(evaluation=2, run_figures=2) | SHOWN | EXPLORED
REDETECTED = both(detectors=1, detector_evaluation=1) | JUDGED
OTHER_ATTACK = (
    both(attack=2, attacked_features=2, attacked_paths=1, evaluation=1, run_figures=1, detector_evaluation=1)
    | SHOWN
    | COMPARED
    | EXPLORED
)


@dataclass(frozen=True)
class Change:
    """A change of the configuration, or of a module of the package, and the jobs that have to run."""

    what: str
    jobs: dict[str, int]
    configuration: Callable[[dict], object] = lambda config: None
    module: str = ""
    edit: Callable[[str], str] = lambda text: text


def setting(section, **values):
    """Return a change of some settings; `section` is a path such as ``training.standard``."""

    def change(config):
        for key in filter(None, section.split(".")):
            config = config.setdefault(key, {})
        config.update(values)

    return change


def code(text):
    return text + "\nCHANGED = 1\n"


CHANGES = [
    Change("nothing", {}),
    Change("`data.seed`", EVERYTHING, setting("data", seed=1)),
    Change("one more of `seeds`", both(**RUN) | ENDS, setting("", seeds=[0, 1])),
    Change("a model's `width`", TRAINED, setting("models.small", width=5)),
    Change(
        "`learning_rate` of one training",
        RUN | ENDS | both(controls=1),
        setting("training.standard", learning_rate=0.01),
    ),
    Change("`torch_threads`", TRAINED, setting("", torch_threads=2)),
    Change(
        "`iterations` of the attack to calibrate on",
        both(attack=2, attacked_features=2, attacked_paths=2, calibration=1) | EVALUATED | REDETECTED,
        setting("attacks.strong", iterations=4),
    ),
    Change("`iterations` of another attack", OTHER_ATTACK, setting("attacks.weak", iterations=3)),
    Change("an attack added", OTHER_ATTACK, setting("attacks", third={"eps": "1/20", "stopping_rule": ["max-loss"]})),
    Change(
        "an attack removed",
        SHOWN | COMPARED | EXPLORED | both(detector_evaluation=1),
        lambda config: config["attacks"].pop("weak"),
    ),
    Change(
        "`calibration.attack`",
        both(attacked_paths=1, calibration=1) | EVALUATED | REDETECTED,
        setting("", calibration={"attack": "weak", "stopping_rule": "first-success"}),
    ),
    Change(
        "another of `features.poolings`",
        {rule: count for rule, count in TRAINED.items() if rule not in ("train", "attack")},
        setting("features", poolings=["mean", "flatten"]),
    ),
    Change("`features.storage: temporary`", {"configuration": 1}, setting("features", storage="temporary")),
    Change(
        "`features.storage: stream`",
        both(streamed_classes=1, streamed_paths=5, calibration=1) | EVALUATED | REDETECTED | {"summary_figures": 1},
        setting("features", storage="stream"),
    ),
    Change("`detection.layers`", both(calibration=1) | EVALUATED | REDETECTED, setting("detection", layers=[1, 2])),
    Change(
        "`false_positive_rates`",
        both(calibration=1) | EVALUATED | REDETECTED,
        setting("detection", false_positive_rates=[0.1]),
    ),
    Change(
        "`collapse.pfc3_threshold`",
        both(calibration=1) | EVALUATED | REDETECTED | {"summary_figures": 1},
        setting("collapse", pfc3_threshold=0.9),
    ),
    Change(
        "`recognition.layers`",
        both(calibration=1, evaluation=2, run_figures=2) | SHOWN | JUDGED,
        setting("recognition", layers=[1, 2]),
    ),
    Change(
        "`recognition.tie_break`",
        both(evaluation=2, run_figures=2) | SHOWN | JUDGED,
        setting("recognition", tie_break="summed-similarity"),
    ),
    Change("a rival detector added", REDETECTED | ADAPTIVE_FIGURES, setting("", detectors=["confidence", "energy"])),
    Change("`iterations` of `adaptive`", JUDGED | ADAPTIVE_FIGURES, setting("adaptive", iterations=3)),
    Change("`controls.n_queries`", both(controls=1) | COMPARED, setting("adaptive.controls", n_queries=6)),
    Change("`device`, `in_memory_mb`", {"configuration": 1}, setting("", device="cpu", in_memory_mb=1)),
    Change("a comment", {}, module="attacks/apgd.py", edit=lambda text: text + "\n# changed\n"),
    Change("a docstring", {}, module="attacks/apgd.py", edit=lambda text: text.replace('"""', '"""Changed. ', 1)),
    Change("code of the configuration or the plan", {}, module="experiment/plan.py", edit=code),
    Change("code of store/provenance.py", EVERYTHING, module="store/provenance.py", edit=code),
    Change("code of attacks/norms.py, which training imports", TRAINED, module="attacks/norms.py", edit=code),
    Change(
        "code of attacks/apgd.py",
        both(attack=4, attacked_features=4, attacked_paths=3, calibration=1) | EVALUATED | REDETECTED,
        module="attacks/apgd.py",
        edit=code,
    ),
    Change(
        "code of paths/equations.py",
        both(clean_paths=1, attacked_paths=3, calibration=1) | EVALUATED | REDETECTED,
        module="paths/equations.py",
        edit=code,
    ),
    Change(
        "code of statistics/metrics.py",
        both(evaluation=2, run_figures=2, detector_evaluation=1, worst_case=1) | SHOWN | COMPARED | EXPLORED,
        module="statistics/metrics.py",
        edit=code,
    ),
    Change(
        "a figure's colour",
        both(run_figures=2) | {"summary_figures": 1, "comparison_figures": 1, "configuration": 1},
        module="report/figures/style.py",
        edit=lambda text: text.replace("#0072B2", "#0072B3"),
    ),
    Change("code of report/tables/table.py", SHOWN | {"comparison": 1}, module="report/tables/table.py", edit=code),
]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("complete"), EXPERIMENT)
    workflow()
    return workflow


def after(complete, change, folder):
    """Return the jobs of a dry run after a change, without any of Snakemake's records of the first run."""
    config = copy.deepcopy(EXPERIMENT)
    change.configuration(config)
    workflow = Workflow(folder, config)
    (folder / "results").symlink_to(complete.folder / "results")
    checkout = ROOT
    if change.module:
        checkout = folder / "checkout"
        for part in ("src", "rules", "captions", "envs", "profiles"):
            shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", checkout)
        module = checkout / "src/featurepaths" / change.module
        text = module.read_text()
        assert change.edit(text) != text
        module.write_text(change.edit(text))
    return jobs(workflow("--dry-run", checkout=checkout))


@pytest.fixture(scope="module")
def found(complete, tmp_path_factory):
    """The jobs after each change."""
    folders = [tmp_path_factory.mktemp("change") for _ in CHANGES]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip([change.what for change in CHANGES],
                        pool.map(functools.partial(after, complete), CHANGES, folders), strict=True))  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_a_change_starts_what_depends_on_it_and_nothing_else(found, change):
    assert found[change.what] == change.jobs


def table():
    """Return the changes and what they start as a table in Markdown."""
    lines = [f"| Changed | runs again | of {TOTAL} jobs |", "|---|---|---|"]
    for change in CHANGES:
        rules = [rule for rule in ("data", *STREAMED, *RUN, *ENDS) if rule in change.jobs]
        shown = ", ".join(rules).replace("_", " ") or "nothing"
        shown = {len(EVERYTHING): "everything", len(TRAINED): "everything but data"}.get(len(rules), shown)
        lines.append(f"| {change.what} | {shown} | {sum(change.jobs.values())} |")
    return "\n".join(lines)


PLACE = re.compile(r"(?<=<!-- reruns -->\n).*?(?=\n<!-- end of reruns -->)", re.S)


def test_the_documentation_has_the_table():
    assert PLACE.search((ROOT / "docs/reruns.md").read_text())[0] == table(), "make readme"


def copied(complete, folder):
    """Return a copy of the complete experiment, all time stamps new, in any order, without Snakemake's records."""
    shutil.copytree(complete.folder / "results", folder / "results", copy_function=shutil.copy)
    return Workflow(folder, EXPERIMENT)


def test_a_second_run_has_nothing_to_do(complete):
    assert "Nothing to be done" in complete()


def test_time_stamps_and_another_machine_start_nothing(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    for number, path in enumerate(sorted((tmp_path / "results").rglob("*"), reverse=True)):
        os.utime(path, (1e9 + number, 1e9 + number))
    assert "Nothing to be done" in workflow()


def test_what_is_damaged_or_missing_is_made_again_and_nothing_else(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    run = workflow.results / "small-standard-s0"
    images = (workflow.results / "data.h5").read_bytes()
    weights = (run / "checkpoint.safetensors").read_bytes()
    paths = (run / "paths/mean/test.h5").read_bytes()
    (workflow.results / "data.h5").write_bytes(images[:1000])
    (run / "checkpoint.safetensors").write_bytes(b"")
    shutil.copy(run / "paths/mean/calibration.h5", run / "paths/mean/test.h5")  # another artefact in its place
    (run / "features/mean/test.h5").unlink()  # the path needs it
    (run / "features/mean/test.strong.max-loss.h5").unlink()
    (workflow.results / "tables/accuracy.md").unlink()
    # and, at the same time, a change below all of that: Snakemake would pass over it
    Workflow(tmp_path, EXPERIMENT | {"recognition": {"tie_break": "summed-similarity"}})
    changed = both(evaluation=2, run_figures=2) | SHOWN | JUDGED
    # what reads a dump that is made again runs again: the comparison of detectors, which needs the other one as well
    read_again = {"clean_paths": 1, "attacked_paths": 1, "detector_evaluation": 1, "attacked_features": 1}
    assert jobs(workflow("--dry-run")) == changed | read_again | {"data": 1, "train": 1, "features": 1}
    workflow()
    assert (workflow.results / "data.h5").read_bytes() == images
    assert (run / "checkpoint.safetensors").read_bytes() == weights
    assert (run / "paths/mean/test.h5").read_bytes() == paths
    assert "Nothing to be done" in workflow()


def test_a_checkpoint_of_other_weights_and_equal_recipe_starts_what_depends_on_it(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    checkpoint = workflow.results / "small-adversarial-s0/checkpoint.safetensors"
    weights, description = read_tensors(checkpoint)
    write_tensors(checkpoint, weights | {"classifier.bias": weights["classifier.bias"] + 1}, description)
    # the controls of the other run transfer its examples
    expected = RUN | ENDS | both(controls=1)
    assert jobs(workflow("--dry-run")) == {
        rule: expected[rule] for rule in expected.keys() - {"train", "configuration"}
    }


def learning_rate_changed():
    config = copy.deepcopy(EXPERIMENT)
    config["training"]["standard"]["learning_rate"] = 0.01
    return config


def test_what_was_never_made_is_made_although_something_is_out_of_date(complete, tmp_path):
    """As after an interruption: Snakemake alone would make what is out of date, and call that everything."""
    kept = [complete.results / "data.h5", *complete.results.glob("*/checkpoint.safetensors")]
    for path in [*kept, *complete.results.glob("*/training.csv")]:
        copied_to = tmp_path / path.relative_to(complete.folder)
        copied_to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied_to)
    workflow = Workflow(tmp_path, learning_rate_changed())
    assert jobs(workflow("--dry-run")) == TRAINED | {"train": 1}
    # the same for what is asked for by its name, or by its rule
    features = "results/two/small-standard-s0/features/mean/test.h5"
    assert jobs(workflow("--dry-run", features)) == {"train": 1, "features": 1}
    assert jobs(workflow("--dry-run", "--until", "attack")) == {"train": 1, "attack": 8}
    assert jobs(workflow("--dry-run", "--until", "clean_paths")) == {"train": 1, "features": 2, "clean_paths": 2}
    csv = "results/two/tables/accuracy.csv"
    assert jobs(workflow("--dry-run", csv))["tables"] == 1


def test_what_was_whole_when_snakemake_was_killed_is_kept_and_the_rest_is_made(complete, tmp_path):
    """Snakemake forgets what is missing below a file that it had no time to call complete."""
    workflow = copied(complete, tmp_path)
    shutil.rmtree(workflow.results / "tables")
    marks = tmp_path / ".snakemake/incomplete"
    marks.mkdir(parents=True)
    for end in ("json", "h5"):
        name = f"results/two/small-standard-s0/detection/mean/detector_evaluation.{end}"
        (marks / base64.b64encode(name.encode()).decode()).write_text('{"external_jobid": null}')
    assert jobs(workflow("--dry-run")) == {"tables": 1, "comparison": 1, "configuration": 1}
    by_name = ["results/two/tables/tables.json", "results/two/tables/comparison.json"]
    assert jobs(workflow("--dry-run", *by_name)) == {"tables": 1, "comparison": 1}


def test_what_is_missing_is_made_beside_what_is_damaged(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    (workflow.results / "data.h5").write_bytes(b"")
    (workflow.results / "tables/accuracy.md").unlink()
    assert jobs(workflow("--dry-run")) == {"data": 1, "tables": 1}
    assert jobs(workflow("--dry-run", "results/two/tables/accuracy.md")) == {"data": 1, "tables": 1}


def test_no_clock_matters(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    assert "Nothing to be done" in workflow()
    for mark in (tmp_path / ".snakemake/featurepaths").iterdir():
        os.utime(mark, (4e9, 4e9))
    assert "Nothing to be done" in workflow("--dry-run")
    Workflow(tmp_path, learning_rate_changed())
    assert jobs(workflow("--dry-run")) == RUN | ENDS | both(controls=1)


@pytest.mark.parametrize("known", [False, True], ids=["copied", "run before"])
def test_call_that_only_reads_writes_nothing(complete, tmp_path, known):
    workflow = copied(complete, tmp_path)
    if known:
        assert "Nothing to be done" in workflow()
    (workflow.results / "data.h5").write_bytes(b"")

    def files():
        paths = [*workflow.results.rglob("*"), *(tmp_path / ".snakemake/featurepaths").rglob("*")]
        return {path: path.stat().st_mtime_ns for path in paths}

    before = files()
    assert jobs(workflow("--dry-run")) == {"data": 1}
    assert re.search(r"data\.h5\t.*\tupdate pending", workflow("--summary"))
    workflow("--dag")
    workflow("--list-rules")
    assert files() == before


def test_temporary_dumps_are_not_missed(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    for path in workflow.results.glob("*/features/*/*.h5"):
        path.unlink()
    temporary = {"poolings": ["mean"], "storage": "temporary"}
    Workflow(tmp_path, EXPERIMENT | {"features": temporary, "recognition": {"layers": [1]}})
    assert jobs(workflow("--dry-run")) == both(calibration=1, evaluation=2, run_figures=2) | SHOWN | JUDGED


def test_a_change_taken_back_before_it_was_used_up_leaves_nothing_stale(complete, tmp_path):
    workflow = copied(complete, tmp_path)
    rate = copy.deepcopy(EXPERIMENT)
    rate["training"]["standard"]["learning_rate"] = 0.01
    Workflow(tmp_path, rate)
    workflow("--until", "train")
    # back, and something else that is far below
    Workflow(tmp_path, EXPERIMENT | {"detection": {"false_positive_rates": [0.1]}})
    assert jobs(workflow("--dry-run")) == both(calibration=1) | EVALUATED | REDETECTED | {"train": 1}
    workflow()
    assert "Nothing to be done" in workflow()


def test_the_version_of_a_library_counts_where_it_is_used(complete, tmp_path, monkeypatch):
    metadata = tmp_path / "libraries/pandas-0.1.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: pandas\nVersion: 0.1\n")
    monkeypatch.setenv("PYTHONPATH", str(metadata.parents[1]))
    expected = SHOWN | {"comparison": 1}
    assert after(complete, Change("pandas", {}), tmp_path / "folder") == expected


def test_every_job_names_its_settings_and_digest_among_its_params(complete):
    detailed = complete("--dry-run", "--forceall", "--printshellcmds")
    for rule in EVERYTHING:
        assert re.search(rf"rule {rule}:", detailed)
    named = [job for job in re.split(r"\n(?:local)?rule ", detailed)[1:] if not re.match("(all|check):", job)]
    assert len(named) == TOTAL
    assert all(re.search(r"--digest\W+[0-9a-f]{20}\b", job) for job in named)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(PLACE.sub(lambda _: table(), readme.read_text()))
