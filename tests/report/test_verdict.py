import re

import pytest

from featurepaths.networks.warnings import DOUBTS
from featurepaths.report.tables.adaptive import comparison_table
from featurepaths.report.tables.main import main_table
from featurepaths.report.verdict import text as written_by
from featurepaths.report.verdict.rules import Robustness, cases_of
from tests.report import contents

RUN = contents.run()
PASSED, FAILED = contents.check(), contents.check("square finds nothing new", passed=False, found="2 of 64")
UPPER_BOUND = "only an upper bound"


def cases(adaptive, controls=(), doubts=()):
    """The cases of results given as run, pooling and content."""
    checkpoints = {run: {"adversarial": run.training != "standard", "doubts": doubts} for run, _, _ in adaptive}
    results = (
        [contents.result(content, run, pooling) for run, pooling, content in part] for part in (adaptive, controls)
    )
    return cases_of(*results, checkpoints)


def case(checks, **counts):
    return cases(*results(contents.adaptive(**counts), checks))[0]


def verdict(*results):
    return written_by.verdict(cases(*results))


def answer(adaptive, *more):
    table = comparison_table(contents.result(content, run, pooling) for run, pooling, content in adaptive)
    return written_by.answer(cases(adaptive, *more), main_table(table))


def summary_paragraph(*results):
    return written_by.summary_paragraph(cases(*results))


def results(content=None, checks=None):
    """The adaptive results and the controls of one run."""
    adaptive = [(RUN, "flatten", content or contents.adaptive())]
    return adaptive, [] if checks is None else [(RUN, "flatten", contents.controls(checks))]


def written(content=None, checks=None, doubts=()):
    return written_by.verdict(cases(*results(content, checks), doubts))


def conclusion(content, checks):
    return written(content, checks).rstrip().split("\n\n")[-1]


@pytest.mark.parametrize(
    ("counts", "robustness"),
    [
        ({"defended": 0}, Robustness.NOTHING),
        ({"defended": 3}, Robustness.NOTHING),  # of 200: to 4.3 %
        ({"defended": 4}, Robustness.SAME),  # to 5.03 %
        ({"defended": 0, "n": 50}, Robustness.UNCERTAIN),  # 0 of 50: to 7.1 %
        ({"defended": 40, "undefended": 100}, Robustness.LESS),
        ({"defended": 90, "undefended": 100}, Robustness.SAME),
        ({"defended": 100, "undefended": 90}, Robustness.SAME),
        ({"defended": 100, "undefended": 40}, Robustness.MORE),
    ],
)
def test_rules_counts_decide_robustness(counts, robustness):
    assert case([PASSED], **counts).robustness is robustness


@pytest.mark.parametrize("defended", [0, 40, 100])
def test_rules_failed_control_is_untrusted(defended):
    assert case([PASSED, FAILED], defended=defended).robustness is Robustness.UNTRUSTED


def test_paragraph_has_every_number():
    _, title, accuracies, last = written(checks=[PASSED] * 7).rstrip().rsplit("\n\n", 3)
    assert title == "## resnet18-standard-s0, flatten features"
    numbers = [
        "90.0 % [85.1, 93.4] of 200 test images",  # network, clean
        "80.0 % [73.9, 85.0]",  # feature paths, clean
        "(apgd, L∞, eps 8/255)",
        "25.0 % [19.5, 31.4] (max-loss) to 60.0 % [53.1, 66.5] (first-success)",
        "0.0 % [0.0, 1.9]",  # adaptive
        "2 attacks",
        "1 attack on single detectors",
        "1 attack is oblivious",
        "20 iterations with 1 restart",
        "1.0 % [0.3, 3.6]",  # network alone
        "1.0 points lower",
        "5 % false positives (6.0 % of the test images), 95.0 % [91.0, 97.3]",
        "40.0 % to 60.0 %",
        "1 % false positives (0.5 % of the test images), 100.0 % [98.1, 100.0]",
        "75.0 % to 85.0 %",
        "All 7 controls passed.",
    ]
    places = [accuracies.find(number) for number in numbers]
    assert places == sorted(places)
    assert -1 not in places
    assert re.search(r"\*\*.* 200 images .*\*\*", last)
    assert "  " not in accuracies


@pytest.mark.parametrize(
    ("defended", "undefended", "text"),
    [(2, 2, "is the same."), (22, 2, "10.0 points higher."), (2, 3, "0.5 points lower.")],
)
def test_paragraph_compares_with_the_network_alone(defended, undefended, text):
    assert text in written(contents.adaptive(defended, undefended))


def test_paragraph_one_stopping_rule_is_no_range():
    content = contents.adaptive()
    del content["defended"]["oblivious_correct"]["first-success"]
    assert "25.0 % [19.5, 31.4] (max-loss)." in written(content)


def test_paragraph_no_false_positive_threshold_has_no_detection():
    assert "false positives" not in written(contents.adaptive(detection=[]))


def test_paragraph_equal_oblivious_evasion_is_no_range():
    content = contents.adaptive()
    content["detection"][1]["oblivious_evaded"] = {"first-success": 80, "max-loss": 80}
    assert "40.0 % to" not in written(content)
    assert "40.0 % under oblivious attacks" in written(content)


@pytest.mark.parametrize(
    ("eps", "norm", "text"),
    [(0.15, "linf", "L∞, eps 0.15)"), (8 / 255, "linf", "L∞, eps 8/255)"), (1.0, "l2", "L2, eps 1)")],
)
def test_paragraph_eps_is_in_255ths_where_it_is_whole(eps, norm, text):
    assert text in written(contents.adaptive(eps=eps, norm=norm))


@pytest.mark.parametrize("doubt", DOUBTS)
def test_paragraph_doubtful_network_has_its_warning(doubt):
    assert DOUBTS[doubt] in written(doubts=[doubt])
    assert DOUBTS[doubt] not in written()


def test_paragraph_network_at_chance_has_its_warning():
    assert "10.0 % of 200 clean images: chance" in written(contents.adaptive(clean=(20, 20)))
    assert "chance" not in written(contents.adaptive(clean=(180, 20)))


def test_first_paragraph_is_the_largest_drop():
    adaptive = [(RUN, "flatten", contents.adaptive(defended=100)), (RUN, "mean", contents.adaptive(defended=20))]
    first = verdict(adaptive).split("\n\n")[1]
    assert re.fullmatch(
        r"\*\*.*60\.0 %.*\(first-success\).*10\.0 %.*largest.*resnet18-standard-s0, mean features\.\*\*", first
    )
    one = verdict(adaptive[:1]).split("\n\n")[1]
    assert re.fullmatch(r"\*\*.*60\.0 %.*50\.0 %.*\(resnet18-standard-s0, flatten features\)\.\*\*", one)


def test_first_paragraph_no_drop_has_no_number():
    first = written(contents.adaptive(50, oblivious=(50, 50))).split("\n\n")[1]
    assert "does not help the attacker" in first
    assert "%" not in first


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"defended": 0}, r"No robustness remains: none of 200 images"),
        ({"defended": 3}, r"Almost no robustness remains: 1\.5 % .*4\.3 %"),
        ({"defended": 0, "n": 50}, r"None of 50 images survives, .*7\.1 % cannot be ruled out"),
        ({"defended": 40, "undefended": 100}, r"Less robustness remains .*\(20\.0 % against 50\.0 %\)"),
        (
            {"defended": 90, "undefended": 100},
            r".*\(45\.0 %\) does not differ significantly .*\(50\.0 %\).* p = 0\.\d+",
        ),
        ({"defended": 100, "undefended": 40}, r"Some robustness remains .*50\.0 %, against 20\.0 %"),
    ],
)
def test_conclusion_has_the_numbers_of_its_rule(counts, text):
    if counts.get("n") == 50:
        counts = {"oblivious": (45, 40), "clean": (48, 46), "detection": [], **counts}
    concluded = conclusion(contents.adaptive(**counts), [PASSED])
    assert re.match(rf"\*\*{text}", concluded)
    assert UPPER_BOUND not in concluded


def test_conclusion_nothing_remains_but_network_alone_keeps_some_has_its_accuracy():
    assert "network alone retains 47.0 %" in conclusion(contents.adaptive(0, 94), [PASSED])
    assert "network alone" not in conclusion(contents.adaptive(0, 2), [PASSED])


def test_conclusion_failed_control_is_named_and_number_is_a_bound():
    text = written(contents.adaptive(defended=100), [PASSED, FAILED])
    assert "1 of 2 controls failed: square finds nothing new (found: 2 of 64)." in text
    concluded = text.rstrip().split("\n\n")[-1]
    assert re.match(r"\*\*A control failed: the 50\.0 % .*upper bound and not a reliable", concluded)
    assert "robustness remains" not in text
    low = conclusion(contents.adaptive(defended=0), [PASSED, FAILED])
    assert "not a reliable" in low
    assert "almost no robustness remains" in low


@pytest.mark.parametrize("checks", [None, []])
@pytest.mark.parametrize("defended", [0, 100])
def test_conclusion_without_checks_is_an_upper_bound(defended, checks):
    text = written(contents.adaptive(defended), checks)
    assert ("controls for masked gradients were not run" in text) == (checks is None)
    assert ("controls for masked gradients checked nothing" in text) == (checks == [])
    assert UPPER_BOUND in text.rstrip().split("\n\n")[-1]
    assert "passed" not in text


def test_controls_one_is_singular():
    assert "The only control passed." in written(checks=[PASSED])
    assert "1 of 1 control failed: " in written(checks=[FAILED])


def test_controls_several_failed_are_all_named():
    text = written(checks=[contents.check("accuracy falls", passed=False, found="3"), FAILED])
    assert "2 of 2 controls failed: accuracy falls (found: 3); square finds nothing new (found: 2 of 64)." in text


@pytest.mark.parametrize(("defended", "comparison"), [(20, "less than"), (100, "not differ"), (160, "more than")])
def test_conclusion_compares_with_adversarial_training_of_same_model_and_pooling(defended, comparison):
    adaptive = [(RUN, "flatten", contents.adaptive(defended)),
                (contents.run(training="pgd"), "flatten", contents.adaptive(90, 100)),
                (contents.run(training="pgd"), "mean", contents.adaptive(90, 1)),
                (contents.run("resnet20", "pgd"), "flatten", contents.adaptive(90, 1))]  # fmt: skip
    text = verdict(adaptive, [(RUN, "flatten", contents.controls())])
    compared = rf"That (is|does) [^.]*{comparison}[^.]* adversarially trained network resnet18-pgd-s0 [^.]*\(50\.0 %\)"
    assert text.count("the adversarially trained network") == 1
    assert re.search(compared, text)
    # an untrusted upper bound may be less than another accuracy, and is never more
    failed = verdict(adaptive, [(RUN, "flatten", contents.controls([FAILED]))])
    assert bool(re.search(compared, failed)) == (defended == 20)
    assert ("adversarially trained network" in failed) == (defended == 20)


def test_over_seeds_has_mean_and_range():
    adaptive = [(contents.run(seed=seed), "flatten", contents.adaptive(defended, 2, oblivious=(best, 50)))
                for seed, defended, best in ((0, 10, 120), (1, 20, 100), (2, 60, 140))]  # fmt: skip
    title, paragraph = verdict(adaptive).rstrip().split("\n\n")[-2:]
    assert title == "## Over seeds"
    assert re.match(
        r"resnet18-standard, flatten features, .* 3 seeds: .*60\.0 % \(50\.0 to 70\.0\)"
        r".*15\.0 % \(5\.0 to 30\.0\).*1\.0 % \(1\.0 to 1\.0\)\.$",
        paragraph,
    )
    assert "Over seeds" not in verdict(adaptive[:1])
    failed = verdict(adaptive, [(*adaptive[1][:2], contents.controls([FAILED]))]).rstrip().split("\n\n")[-1]
    assert re.search(r"Controls failed for 1 of the 3 seeds: .*upper bounds", failed)


def test_over_seeds_groups_poolings_apart():
    adaptive = [
        (contents.run(seed=seed), pooling, contents.adaptive()) for seed in (0, 1) for pooling in ("flatten", "mean")
    ]
    assert verdict(adaptive).count(" over 2 seeds: ") == 2


def test_summary_is_one_plain_paragraph_with_every_count():
    adaptive = [(RUN, "flatten", contents.adaptive(0)), (RUN, "mean", contents.adaptive(100))]
    text = summary_paragraph(adaptive, [(RUN, "flatten", contents.controls())])
    assert not re.search(r"[\n*#|`]", text)
    assert "60.0 %" in text
    assert "In 1 of 2 cases almost no robustness remains (a case is a network and a pooling)." in text
    assert "In 1 of 2 cases more robustness remains than the network has alone" in text
    assert text.count("a case is") == 1
    assert "were not run for 1 of the 2 cases." in text
    assert "(resnet18-standard-s0, flatten features). Almost no robustness remains. The" in summary_paragraph(
        adaptive[:1]
    )
    both = [(*result[:2], contents.controls([FAILED])) for result in adaptive]
    text = summary_paragraph(adaptive, both)
    assert "In both cases a control failed" in text
    assert "more robustness" not in text
    assert "not run" not in text
    mixed = summary_paragraph([*adaptive, (RUN, "x", contents.adaptive(vanished=0.5))], both)
    assert "In all 3 cases a control failed or gradients vanish" in mixed


def test_page_is_escaped_and_leaves_the_first_sentence_to_the_answer():
    adaptive, controls = results(contents.adaptive(attack="a<b"), [contents.check("<x>", passed=False)])
    page = written_by.verdict_page(cases(adaptive, controls))
    assert page.count("<h1>") == 1
    assert "<h2>resnet18-standard-s0, flatten features</h2>" in page
    assert "Feature paths appear to retain" not in page
    assert page.count("<p><strong>") == 1
    assert "a&lt;b" in page
    assert "&lt;x&gt;" in page
    assert not re.search(r"a<b|<x>|\*\*|## ", page)


def test_answer_has_a_sentence_and_a_row_of_rates_for_each_network():
    other = contents.run(training="madry")
    adaptive = [
        (RUN, "flatten", contents.adaptive()),
        (other, "flatten", contents.adaptive(defended=80, undefended=40)),
    ]
    controls = [(run, "flatten", contents.controls([contents.check("<x>", passed=True)])) for run in (RUN, other)]
    html = answer(adaptive, controls)
    sentences, table = html.split(written_by.FIGURE_BELONGS_HERE)
    assert sentences.startswith(f"<p>{summary_paragraph(adaptive, controls)}</p>")
    items = re.findall(r"<li><strong>(.*?):</strong> (.*)</li>", sentences)
    assert [name for name, _ in items] == [str(RUN), str(other)]
    verdicts = re.findall(r"^\*\*(.*)\*\*$", verdict(adaptive, controls), re.M)[1:]
    assert [text for _, text in items] == verdicts
    cells = [re.findall(r"<td>(.*?)(?: \[.*)?</td>", row) for row in table.split("</tr>")[1:-1]]
    assert cells == [
        [str(RUN), "80.0", "25.0 to 60.0", "0.0", "90.0", "1.0"],
        [str(other), "80.0", "25.0 to 60.0", "40.0", "90.0", "20.0"],
    ]
    words = re.findall(r"[^.<>]{30,}\.", html)
    assert len(words) == len(set(words)), "no sentence twice"
    both = [(run, pooling, content) for run, _, content in adaptive for pooling in ("flatten", "mean")]
    assert "madry-s0, mean features" in answer(both)


def test_vanished_gradients_without_controls_are_untrusted():
    vanished = contents.adaptive(defended=100, undefended=40, vanished=0.5)
    text = written(vanished)
    assert "150 of 300 images" in text
    assert re.match(r"\*\*Gradients vanish: the 50\.0 %", text.rstrip().split("\n\n")[-1])
    assert "robustness remains" not in text
    assert "gradients vanish" in summary_paragraph(*results(vanished)).lower()
    # a few may vanish, because objectives saturate
    assert case(None, defended=100, undefended=40, vanished=0.01).robustness is Robustness.MORE
    # controls decide where they were run
    assert case([PASSED], defended=100, undefended=40, vanished=0.5).robustness is Robustness.MORE
