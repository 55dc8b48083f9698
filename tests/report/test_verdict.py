import re

import pytest

from featurepaths.networks.warnings import DOUBTS
from featurepaths.report import verdict
from featurepaths.report.verdict import Robustness
from tests.report import made_up

RUN = made_up.run()


def case(checks, **counts):
    return verdict.Case(RUN, "flatten", made_up.adaptive(**counts), checks)


def written(content=None, checks=None, run=RUN):
    found = [(run, "flatten", content or made_up.adaptive())]
    controls = [] if checks is None else [(run, "flatten", made_up.controls(checks))]
    return verdict.verdict(found, controls)


@pytest.mark.parametrize(
    ("counts", "left"),
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
def test_rules(counts, left):
    assert case([made_up.check()], **counts).left is left


@pytest.mark.parametrize("defended", [0, 40, 100])
def test_a_failed_control_goes_before_every_rule(defended):
    assert case([made_up.check(), made_up.check(passed=False)], defended=defended).left is Robustness.UNTRUSTED


def test_the_paragraph_has_the_numbers():
    text = written(checks=[made_up.check()] * 7)
    assert "## resnet18-standard-s0, flatten features" in text
    assert "the network answers 90.0 % [85.1, 93.4] of 200 test images correctly" in text
    assert "with feature paths 80.0 % [73.9, 85.0]" in text
    assert "(apgd, L∞, eps 8/255)" in text
    assert "25.0 % [19.5, 31.4] (max-loss) to 60.0 % [53.1, 66.5] (first-success)" in text
    assert "0.0 % [0.0, 1.9] are left" in text
    assert (
        "over 2 attacks on network and defence and 1 on single detectors, in the same ball, 1 of them oblivious" in text
    )
    assert "The network alone keeps 1.0 % [0.3, 3.6] under attacks aimed at it" in text
    assert "with feature paths it is 1.0 points less" in text
    assert "5 % false positives (of the test images: 6.0 %) 95.0 % [91.0, 97.3] of the images" in text
    assert "40.0 % to 60.0 % when not" in text
    assert "1 % false positives (of the test images: 0.5 %) 100.0 % [98.1, 100.0] of the images" in text
    assert "All 7 controls passed." in text
    assert text.rstrip().endswith("**No robustness is left: not one of 200 images survives.**")


def test_one_stopping_rule_is_no_range():
    content = made_up.adaptive()
    del content["defended"]["oblivious_correct"]["first-success"]
    assert "feature paths keep 25.0 % [19.5, 31.4] (max-loss)." in written(content)


def test_the_first_line_is_the_largest_drop():
    found = [(RUN, "flatten", made_up.adaptive(defended=100)), (RUN, "mean", made_up.adaptive(defended=20))]
    first = verdict.verdict(found).split("\n\n")[1]
    assert "seem to keep 60.0 %" in first
    assert "(first-success), and keep 10.0 % under attacks that do" in first
    assert "the largest drop, of resnet18-standard-s0, mean features" in first
    assert verdict.verdict(found[:1]).split("\n\n")[1].endswith("do (resnet18-standard-s0, flatten features).**")


def test_no_drop():
    assert "Nowhere does an attacker who knows the defence win" in written(made_up.adaptive(50, oblivious=(50, 50)))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"defended": 3}, "Next to no robustness is left: 1.5 % of the images survive, with an interval that ends at "
         "4.3 %"),
        ({"defended": 0, "n": 50}, "Not one of 50 images survives, but so few cannot rule out that up to 7.1 % would"),
        ({"defended": 40, "undefended": 100}, "Less robustness is left than the network has alone (20.0 % against "
         "50.0 %)"),
        ({"defended": 90, "undefended": 100}, "What is left (45.0 %) cannot be told from what the network has alone"),
        ({"defended": 100, "undefended": 40}, "Some robustness is left under the attacks that were tried: 50.0 % "
         "against 20.0 % of the network alone"),
    ],
)  # fmt: skip
def test_conclusions(counts, words):
    counts = {"oblivious": (45, 40), "clean": (48, 46), **counts} if counts.get("n") == 50 else counts
    content = made_up.adaptive(**counts)
    if counts.get("n") == 50:
        content["detection"] = []
    conclusion = written(content, [made_up.check()]).rstrip().split("\n\n")[-1]
    assert words in conclusion
    assert "upper bound" not in conclusion


def test_where_the_network_alone_keeps_something_losing_everything_says_so():
    conclusion = written(made_up.adaptive(0, 94), [made_up.check()]).rstrip().split("\n\n")[-1]
    assert conclusion == ("**No robustness is left: not one of 200 images survives. The network alone keeps 47.0 %.**")


def test_a_failed_control_is_named_and_takes_the_number_back():
    checks = [made_up.check(), made_up.check("square finds nothing new", passed=False, found="2 of 64")]
    text = written(made_up.adaptive(defended=100), checks)
    assert "1 of 2 controls failed: square finds nothing new (found: 2 of 64)." in text
    conclusion = text.rstrip().split("\n\n")[-1]
    assert "A control failed: the 50.0 % under attacks that know the defence are only an upper bound" in conclusion
    assert "cannot be trusted" in conclusion
    assert "Some robustness" not in text
    assert "next to nothing" not in conclusion
    low = written(made_up.adaptive(defended=0), checks).rstrip().split("\n\n")[-1]
    assert "cannot be trusted" in low
    assert "As a bound they are low enough: next to nothing is left." in low


@pytest.mark.parametrize("defended", [0, 100])
def test_controls_that_were_not_run_are_said_to_be(defended):
    text = written(made_up.adaptive(defended))
    assert "The controls for masked gradients were not run." in text
    assert "No control has checked the attacks, so that this is an upper bound only." in text
    assert "passed" not in text


def test_one_control():
    assert "The one control passed." in written(checks=[made_up.check()])
    assert "1 of 1 control failed: " in written(checks=[made_up.check(passed=False)])


@pytest.mark.parametrize(
    ("defended", "words"),
    [
        (20, "That is less than the adversarially trained network resnet18-pgd-s0 keeps without a defence (50.0 %)."),
        (100, "That cannot be told from what the adversarially trained network resnet18-pgd-s0 keeps"),
        (160, "That is more than the adversarially trained network resnet18-pgd-s0 keeps"),
    ],
)
def test_beside_an_adversarially_trained_network(defended, words):
    found = [(RUN, "flatten", made_up.adaptive(defended)),
             (made_up.run(training="pgd"), "flatten", made_up.adaptive(90, 100)),
             (made_up.run(training="pgd"), "mean", made_up.adaptive(90, 1)),
             (made_up.run("resnet20", "pgd"), "flatten", made_up.adaptive(90, 1))]  # fmt: skip
    text = verdict.verdict(found, [(*found[0][:2], made_up.controls())])
    assert text.count("the adversarially trained network") == 1
    assert words in text
    # an untrusted upper bound may be less, and is never more
    failed = made_up.controls([made_up.check(passed=False)])
    assert ("That is less" in verdict.verdict(found, [(*found[0][:2], failed)])) == (defended == 20)
    assert "That is more" not in verdict.verdict(found, [(*found[0][:2], failed)])


def test_seeds_have_their_mean_and_range():
    found = [(made_up.run(seed=seed), "flatten", made_up.adaptive(defended, 2, oblivious=(best, 50)))
             for seed, defended, best in ((0, 10, 120), (1, 20, 100), (2, 60, 140))]  # fmt: skip
    text = verdict.verdict(found)
    assert (
        "resnet18-standard, flatten features, mean and range over 3 seeds: feature paths seem to keep "
        "60.0 % (50.0 to 70.0) (the most of any stopping rule) when the attacker does not know them, and keep "
        "15.0 % (5.0 to 30.0) when he does; the network alone keeps 1.0 % (1.0 to 1.0)." in text
    )
    assert "Over seeds" not in verdict.verdict(found[:1])
    failed = verdict.verdict(found, [(*found[1][:2], made_up.controls([made_up.check(passed=False)]))])
    assert "Controls failed for 1 of the 3 seeds: upper bounds only." in failed


def test_without_thresholds_for_false_positives_nothing_is_said_of_detection():
    assert "Detection alone" not in written(made_up.adaptive(detection=[]))


@pytest.mark.parametrize(
    ("eps", "norm", "words"),
    [(0.15, "linf", "L∞, eps 0.15"), (8 / 255, "linf", "L∞, eps 8/255"), (1.0, "l2", "L2, eps 1)")],
)
def test_eps_as_people_write_it(eps, norm, words):
    assert words in written(made_up.adaptive(eps=eps, norm=norm))


def test_the_summary_is_one_plain_paragraph():
    found = [(RUN, "flatten", made_up.adaptive(0)), (RUN, "mean", made_up.adaptive(100))]
    text = verdict.summary_paragraph(found, [(RUN, "flatten", made_up.controls())])
    assert not re.search(r"[\n*#|`]", text)
    assert "60.0 %" in text
    assert "In 1 of 2 cases next to nothing is left (a case is a network and a pooling)." in text
    assert "In 1 of 2 cases more is left than the network has alone, under the attacks" in text
    assert "The controls for masked gradients were not run for 1 of the 2 cases." in text
    assert "Then next to nothing is left. The controls for masked gradients were not run." in verdict.summary_paragraph(
        found[:1]
    )
    both = [(*one[:2], made_up.controls([made_up.check(passed=False)])) for one in found]
    text = verdict.summary_paragraph(found, both)
    assert "In both cases a control failed" in text
    assert "more is left" not in text
    assert "not run" not in text


def test_vanished_gradients_take_the_number_back_without_controls_too():
    vanished = made_up.adaptive(defended=100, undefended=40, vanished=0.5)
    text = written(vanished)
    assert "150 of 300 images" in text
    assert "Gradients vanish: the 50.0 % under attacks" in text
    assert "Some robustness" not in text
    assert "gradients vanish, so that" in verdict.summary_paragraph([(RUN, "flatten", vanished)])
    # a few may: goals saturate
    assert case(None, defended=100, undefended=40, vanished=0.01).left is Robustness.MORE
    # where controls were run, theirs is the say
    assert case([made_up.check()], defended=100, undefended=40, vanished=0.5).left is Robustness.MORE


@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_is_doubtful_about_a_network_stands_in_its_paragraph(doubt):
    doubtful = made_up.run()
    doubtful.checkpoint["doubts"] = [doubt]
    assert DOUBTS[doubt] in written(run=doubtful)
    assert DOUBTS[doubt] not in written()
