"""Contents of the adaptive evaluation's artefacts, with numbers that are easy to check by hand."""

import numpy as np

from featurepaths.experiment.run import Run
from featurepaths.report.results import Result
from featurepaths.statistics.paired import mcnemar

STOPPING_RULES = ("first-success", "max-loss")
RANKING = ("auroc", "aupr", "tpr_at_fpr_1", "tpr_at_fpr_5")


def run(model="resnet18", training="standard", seed=0):
    return Run(model, training, seed)


def result(content, run=run(), pooling="flatten"):  # noqa: B008 (a named tuple)
    return Result(run, content, pooling)


def paired(first_only, second_only):
    """McNemar's test by the number of images that only the first or only the second method classifies correctly."""
    only = [True] * first_only + [False] * second_only
    return mcnemar(np.array(only), ~np.array(only))


def adaptive(defended=0, undefended=2, n=200, oblivious=(120, 50), clean=(180, 160), vanished=0.0, **changed):
    def attack(name, objective, threat, attacked, left, queries):
        return {"name": name, "objective": objective, "loss": "ce", "targeted": False, "threat": threat,
                "attacked": attacked, "defended_correct": left, "network_correct": 10, "n_queries": queries,
                "vanished": int(attacked * vanished)}  # fmt: skip

    def evaded(method, flagged, first, greatest, adaptively):
        return {"threshold_method": method, "threshold": 0.6, "flagged_clean": flagged,
                "oblivious_evaded": {"first-success": first, "max-loss": greatest},
                "adaptive_evaded": adaptively}  # fmt: skip

    content = {
        "n": n, "n_most_frequent": n // 10,
        "threshold_method": "otsu", "threshold": 0.7, "attack": "apgd", "norm": "linf", "eps": 8 / 255,
        "eps_space": "pixel", "iterations": 20, "restarts": 1, "n_targets": 3,
        "undefended": {"clean_correct": clean[0], "oblivious_correct": dict.fromkeys(STOPPING_RULES, 3),
                       "adaptive_correct": undefended},
        "defended": {"clean_correct": clean[1], "oblivious_correct": dict(zip(STOPPING_RULES, oblivious, strict=True)),
                     "adaptive_correct": defended},
        "mcnemar": paired(defended // 2, undefended // 2),
        "attacks": [attack("apgd.first-success", "misclassify", "oblivious", 200, 120, 21),
                    attack("evade.ce", "evade", "adaptive", 100, 30, 42)],
        "detection": [evaded("otsu", 60, 40, 90, 150), evaded("fpr-5", 12, 80, 120, 190),
                      evaded("fpr-1", 1, 150, 170, 200)],
        "detectors": [measured("confidence", n=n)],
    }  # fmt: skip
    return content | changed


def measured(detector, n=200, **more):
    return {
        "detector": detector,
        "n": n,
        "n_successful": 150,
        "n_unsuccessful": 30,
        "successful": {"auroc": 0.8, "interval": [0.75, 0.85]},
        "ranking": dict.fromkeys(RANKING, 0.75),
        "intervals": {**{name: [0.7, 0.8] for name in RANKING}, "balanced_accuracy.otsu": [0.55, 0.65],
                      "balanced_accuracy.fpr-5": [0.5, 0.6]},
        "at_threshold": {"otsu": {"threshold": 0.7, "flagged_clean": 60, "flagged_adversarial": 100,
                                  "flagged_successful": 90, "flagged_unsuccessful": 5},
                         "fpr-5": {"threshold": 0.4, "flagged_clean": 10, "flagged_adversarial": 30,
                                   "flagged_successful": 20, "flagged_unsuccessful": 2}},
        **more,
    }  # fmt: skip


def cell(on, at, clean, adversarial, n=200):
    return {"calibrated_on": on, "tested_on": at, "threshold": 0.5, "n": n, "flagged_clean": clean,
            "flagged_adversarial": adversarial}  # fmt: skip


def detectors():
    matrix = [cell("apgd.max-loss", "apgd.first-success", 40, 100), cell("apgd.max-loss", "apgd.max-loss", 40, 180)]
    metrics = {key: value for key, value in measured("").items() if key != "detector"}
    evaluations = [metrics | {"attack": "apgd", "stopping_rule": rule} for rule in STOPPING_RULES]
    return {
        "n": 200,
        "detectors": [
            {"detector": "feature-paths", "layers": [1, 2, 3], "evaluations": evaluations, "matrix": matrix},
            {"detector": "confidence", "layers": None, "evaluations": evaluations, "matrix": matrix[:1]},
        ],
    }


def check(name="accuracy falls to 0 as eps grows", passed=True, found="0 of 128 at eps 1.2"):
    return {"check": name, "passed": passed, "found": found}


def controls(checks=None, source="resnet20-standard-s0"):
    return {
        "n": 128,
        "eps": [{"eps": 0.15 * times, "multiple": str(times), "defended_correct": left, "undefended_correct": alone}
                for times, left, alone in ((0, 96, 120), (1, 32, 16), (8, 0, 0))],
        "budget": [{"iterations": iterations, "restarts": restarts, "n_targets": targets, "defended_correct": left,
                    "undefended_correct": 8}
                   for iterations, restarts, targets, left in ((10, 1, 0, 64), (100, 1, 0, 32), (20, 5, 2, 32))],
        "black_box": {"attack": "square", "n_queries": 1000, "n": 64, "defended_correct": 16, "missed": 2},
        "transfer": {"source": source, "n": 128, "defended_correct": 64, "missed": 0},
        "vanished": {"images": 32, "n": 128},
        "false_positives": [
            {"corruption": "clean", "level": "", "n": 128, "flagged": 16, "network_correct": 120,
             "defended_correct": 112},
            {"corruption": "blur", "level": "1.5", "n": 128, "flagged": 64, "network_correct": 96,
             "defended_correct": 80},
        ],
        "checks": [check()] if checks is None else checks,
    }  # fmt: skip
