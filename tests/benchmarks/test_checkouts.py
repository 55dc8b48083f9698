import yaml

from benchmarks.checkouts import Side, with_equal_budgets

OLD = """
name: digits
training: {standard: {epochs: 10}}
attacks: {apgd: {eps: 0.15, keep: [max-loss]}}
calibration: {attack: apgd, keep: max-loss}
adaptive: {attack: apgd, images: 128, targets: 0, controls: {images: 64, queries: 100}}
"""
NEW = """
name: digits
training: {standard: {epochs: 2}}
attacks: {apgd: {eps: 0.15, stopping_rule: [max-loss]}}
calibration: {attack: apgd, stopping_rule: max-loss}
adaptive: {attack: apgd, max_images: 64, n_targets: 9, controls: {max_images: 64, n_queries: 20, restarts: 2}}
"""


def side(folder, config):
    (folder / "checkout").mkdir(parents=True)
    (folder / "checkout/config.yaml").write_text(config)
    return Side(folder / "checkout", folder / "work")


def written(side):
    path = side.options(side.config)[1]
    return yaml.safe_load(path.read_text())


def test_budgets_that_differ_those_of_the_old_checkout(tmp_path, capsys):
    old, new = with_equal_budgets(side(tmp_path / "old", OLD), side(tmp_path / "new", NEW))
    assert written(old) == yaml.safe_load(OLD)
    assert written(new) == {
        **yaml.safe_load(NEW),
        "training": {"standard": {"epochs": 10}},
        # the targets are the suite's that is compared; the old checkout knows no restarts of controls
        "adaptive": {
            "attack": "apgd",
            "max_images": 128,
            "n_targets": 9,
            "controls": {"max_images": 64, "n_queries": 100, "restarts": 2},
        },
    }
    printed = capsys.readouterr().err
    assert [line.split()[0] for line in printed.splitlines()] == [
        "training.standard.epochs",
        "adaptive.max_images",
        "adaptive.controls.n_queries",
    ]
