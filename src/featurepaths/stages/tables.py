"""Tables: everything that was counted -> CSV, Markdown and HTML tables."""

from featurepaths.report import tables as make
from featurepaths.report.summary import summary_table
from featurepaths.stages import cli
from featurepaths.store.atomic import atomic
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json
from featurepaths.store.safetensors import read_description

TITLES = {
    "architecture": ("Table 1: the networks", "Counted from the built networks; one row for each shape of layers."),
    "accuracy": (
        "Tables 2 and 4: clean and adversarial accuracy",
        "Per cent with 95 % intervals (Wilson). Attacks know the network only (oblivious). Feature paths at Otsu's "
        "threshold: protocol `paper` is calibrated on the test images themselves, `held-out` on calibration images. "
        "Adversarial accuracy is over all adversarial images, flagged accuracy over the flagged ones.",
    ),
    "attacks": (
        "The attacks on the undefended networks",
        "Success: right when clean and wrong now, of those right when clean. The first fooled step is that of the "
        "successes; gradient vanished is the share of images whose gradient was zero in every pixel, or not finite in "
        "some, at some step. Attacks of torchattacks that draw random numbers draw them for 64 images together: what "
        "they find for an image depends on which images are attacked with it. docs/method.md says which ones do.",
    ),
    "combinations": (
        "Table 3: votes of middle layers",
        "Per cent with 95 % intervals (Wilson). Flagged accuracy is the paper's figure. Ties go to the last layer (the "
        "paper's sentence) or to the class of greater summed similarity. Attacks know the network only (oblivious).",
    ),
    "detection": (
        "Detection",
        "Per cent with 95 % intervals (Wilson for rates at a threshold, bootstrap over images otherwise). Adversarial "
        "images are the positive class. Attacks know the network only (oblivious). Successful ones changed a right "
        "answer of the network to a wrong one, unsuccessful ones left it right; images that it gets wrong when clean "
        "are neither. The successful AUROC sets the successful ones against the clean images they were made from.",
    ),
    "recognition": (
        "Recognition",
        "Per cent with 95 % intervals (Wilson), at every threshold. Attacks know the network only (oblivious). "
        "Successful ones changed a right answer of the network to a wrong one, unsuccessful ones left it right; "
        "images that it gets wrong when clean are neither. By definition the undefended network gets no successful "
        "image right and every unsuccessful one. McNemar's p (exact, two-sided) compares feature paths with the "
        "undefended network on the same clean images, and on the same adversarial images.",
    ),
    "summary": (
        "Summary over seeds",
        "Means in per cent. Seeds of the attack are averaged within each training seed; the standard deviation and "
        "the 95 % intervals (Student's t, cut to 0 and 100) are over training seeds. With one seed of each kind the "
        "interval is that run's own, over its images (Wilson for rates, bootstrap for AUROC, true positive rates at a "
        "false positive rate and balanced accuracy). With one training seed and several attack seeds there is none: "
        "they say nothing about another network. Attacks know the network only (oblivious).",
    ),
    "collapse": (
        "Collapse by layer, on the training images",
        "PFC1 and PFC2 are 0 and PFC3 is 1 in a collapsed layer.",
    ),
}


def main(arguments):
    origin = cli.origin_of_record(arguments)
    runs = {path.parent.name: read_run(path) for path in arguments.checkpoints}
    recognition = [read_evaluation(path, runs) for path in arguments.recognition]
    found = {
        "architecture": make.architecture_table(runs.values()),
        "recognition": make.recognition_table(recognition),
        "combinations": make.combinations_table(recognition),
        "detection": make.detection_table(read_evaluation(path, runs) for path in arguments.detection),
        "attacks": make.attack_table(
            read_attack(path, runs, arguments.settings["stopping_rule"]) for path in arguments.attacks
        ),
        "collapse": make.collapse_table(
            (runs[path.parts[-3]], path.stem, read_json(path)) for path in arguments.collapse
        ),
    }
    found["summary"] = summary_table(found["recognition"], found["detection"], arguments.settings["groups"])
    found["accuracy"] = make.accuracy_table(found["recognition"])
    if arguments.settings["paper_attacks"]:
        make.add_paper_numbers(found, runs.values(), arguments.settings["paper_attacks"])
    folder = arguments.record.parent
    for name, (title, note) in TITLES.items():
        with atomic(folder / f"{name}.csv") as temporary:
            found[name].to_csv(temporary, index=False)
        with atomic(folder / f"{name}.md") as temporary:
            temporary.write_text(make.to_markdown(found[name], title, note), encoding="utf-8")
        with atomic(folder / f"{name}.html") as temporary:
            temporary.write_text(make.to_html(found[name], title, note), encoding="utf-8")
    cli.write_record(arguments.record, origin, (f"{name}.{kind}" for name in TITLES for kind in ("csv", "md", "html")))


def read_run(checkpoint):
    """Return a run by its checkpoint, `<model>-<training>-s<seed>/checkpoint.safetensors`."""
    model, training, seed = Run.parse(checkpoint.parent.name)
    return make.Run(model, training, seed, read_description(checkpoint))


def read_attack(path, runs, stopping_rules):
    """Return the run, the attack's name and its records by its artefact, `<run>/attacks/<split>.<attack>.h5`."""
    attack = path.stem.split(".")[1]
    with open_hdf5(path) as file:
        records = {name: file[name][:] for name in ("clean_correct", "success", "first_fooled_step", "vanished_steps",
                                                    "n_queries")}  # fmt: skip
        records |= {
            stopping_rule: {name: file[stopping_rule][name][:] for name in ("loss", "norm")}
            for stopping_rule in stopping_rules[attack]
        }
    return runs[path.parts[-3]], attack, {**records, "stopping_rules": stopping_rules[attack]}


def read_evaluation(path, runs):
    """Return an evaluation by its metrics, `<run>/<kind>/<pooling>/<detector>.<attack>.<stopping_rule>.json`."""
    detector, attack, stopping_rule = path.stem.split(".")
    return make.Evaluation(runs[path.parts[-4]], path.parent.name, detector, attack, stopping_rule, read_json(path))


if __name__ == "__main__":
    cli.run("tables", main)
