"""The display of a run, from events as Snakemake records them, and its estimate of the time that is left."""

import io
import logging

import pytest
from rich.console import Console

from featurepaths.workflow import work
from featurepaths.workflow.display import LINES_OF_LOG, Display
from featurepaths.workflow.work import Work, clock, kind_of
from tests.experiments import TINY
from tests.processes import jobs

STATS = {"data": 1, "train": 2, "attack": 4, "tables": 1, "check": 1, "all": 1, "total": 10}


def record(text=None, level=logging.INFO, **attributes):
    entry = logging.LogRecord("snakemake.logging", level, "", 0, text, None, None)
    vars(entry).update(attributes)
    return entry


def started(number, rule, **wildcards):
    return record(event="job_info", jobid=number, rule_name=rule, wildcards=wildcards)


def finished(number):
    return record(event="job_finished", job_id=number)


def failed(number, rule, log, **more):
    info = {"jobid": number, "rule_name": rule, "output": ["results/x/out.h5"], "log": [str(log)]}
    return record(level=logging.ERROR, event="job_error", **info, **more)


def shown(*records, terminal=False, silent=False):
    """Output of a display for records, on a terminal or into a file of 80 columns."""
    console = Console(file=io.StringIO(), width=80, height=40, force_terminal=terminal, force_interactive=terminal)
    display = Display(console, silent=silent)
    for each in records:
        display.emit(each)
    display.close()
    return console.file.getvalue()


RUN = [
    record("Building DAG of jobs..."),
    record(event="workflow_started"),
    record("Job stats", event="run_info", stats=STATS),
    record("Select jobs to execute..."),
    started(1, "data"),
    finished(1),
    started(2, "train", run="net-standard-s0"),
    started(3, "train", run="net-other-s0"),
    finished(2),
    started(4, "attack", run="net-standard-s0", split="test", attack="apgd"),
    started(5, "attack", run="net-standard-s0", split="calibration", attack="apgd"),
]


def test_log_has_a_line_per_kind_and_network_and_no_chatter():
    lines = [line.split() for line in shown(*RUN).splitlines()]
    assert lines[0] == ["8", "jobs", "to", "run"]
    assert [line[1:] for line in lines[1:-1]] == [
        ["0%", "data"],
        ["12%", "training", "net-standard-s0"],
        ["12%", "training", "net-other-s0"],
        ["25%", "attacks", "net-standard-s0"],
    ]
    assert lines[-1][:4] == ["2", "of", "8", "jobs"]


def test_terminal_has_bars_with_network_attack_and_time():
    text = shown(*RUN, terminal=True)
    last = text[text.rindex("data") :]
    assert "training" in last
    assert "1/2" in last
    assert "net-standard-s0 test apgd" in last
    assert "elapsed" in last or "left" in last
    assert "Select jobs" not in text


def test_failed_job_shows_log_and_its_last_lines_once(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("\n".join(f"line {number}" for number in range(40)))
    repeated = record("WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    command = f"Command '... > {log} 2>&1' returned non-zero exit status 137."
    ended = record(f"RuleException:\nCalledProcessError in file base.smk, line 28:\n{command}", logging.ERROR)
    text = shown(*RUN, ended, failed(3, "train", log), repeated)
    assert text.count(str(log)) == 1
    assert "exit status 137" in text
    assert text.count("line ") == LINES_OF_LOG
    assert "line 39" in text
    assert "At least one" not in text
    assert "1 attempt failed" in text.splitlines()[-1]


def test_failed_group_shows_only_jobs_whose_output_is_missing(tmp_path):
    output, log = tmp_path / "made.h5", tmp_path / "log"
    output.touch()
    log.write_text("reason")
    infos = [
        {"jobid": 4, "rule_name": "attack", "output": [str(output)], "log": ["ended.log"]},
        {"jobid": 5, "rule_name": "evaluation", "output": [str(tmp_path / "none.h5")], "log": [str(log)]},
    ]
    group = record(level=logging.ERROR, event="group_error", aux_logs=["slurm.log"], job_error_info=infos)
    text = shown(*RUN, group, failed(4, "attack", "ended.log", indent=True), failed(5, "attack", log, indent=True))
    assert text.count("reason") == 1
    assert "slurm.log" in text
    assert "ended.log" not in text
    bars = shown(*RUN, group, terminal=True)
    assert "test apgd" in shown(*RUN, terminal=True).rpartition("training")[2]
    assert "apgd" not in bars.rpartition("training")[2], "no job of the group is at work"


def test_other_errors_and_warnings_are_shown_and_other_modes_print_what_they_say():
    error = record("WorkflowError in file common.smk: no such layer", logging.ERROR)
    assert "no such layer" in shown(error)
    listed = shown(record("train"), record("attack"))
    assert listed.split() == ["train", "attack"]


def test_silent_display_writes_nothing_but_notes_that_jobs_run():
    assert shown(*RUN, silent=True) == ""


def test_time_left_weighs_kinds_by_their_jobs():
    one = Work({"train": 2, "attack": 4}, now=0.0)
    assert one.seconds_left(0.0) is None
    one.start(1, "train", {"run": "a"}, 0.0)
    one.end(1, 10.0)
    # trainings take 10 s; attacks have not ended, and take 6/20 of a training in the default experiment
    assert one.seconds_left(10.0) == pytest.approx(10 + 4 * 3)
    one.start(2, "train", {"run": "b"}, 10.0)
    assert one.seconds_left(14.0) == pytest.approx(6 + 4 * 3)
    one.end(2, 14.0, failed=True)
    assert one.done == {"training": 1}


def test_two_jobs_side_by_side_halve_the_time_left():
    one = Work({"train": 4}, now=0.0)
    for number in (1, 2):
        one.start(number, "train", {}, 0.0)
        one.end(number, 10.0)
    assert one.seconds_left(10.0) == pytest.approx(10.0)


def test_clock_has_hours_only_where_needed():
    assert [clock(0.4), clock(61), clock(3600 + 61)] == ["0:00", "1:01", "1:01:01"]


def test_every_rule_of_the_workflow_has_a_kind(tiny):
    rules = jobs(tiny("--dry-run", "--forceall")).keys()
    unlisted = {rule for rule in rules if rule not in work.KIND_OF}
    assert {kind_of(rule) for rule in unlisted} <= {"tables and figures"}
    figures = {"run_figures", "summary_figures", "comparison_figures", "explorer"}
    assert unlisted == {"tables", "comparison", "configuration"} | figures
    assert TINY["name"] == "tiny"
