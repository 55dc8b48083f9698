import copy

import pytest

from featurepaths.attacks.torchattacks.methods import METHODS
from featurepaths.data.size import DataSize
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.passes import passes_of_adaptive, passes_of_controls
from featurepaths.experiment.resources import Estimator, Needs
from tests.experiments import TINY

PRECOMPUTED = {"method": "precomputed", "test": "x.npz"}
CIFAR = DataSize(60000, 10, 32)


def estimator(data=CIFAR, **changes):
    config = copy.deepcopy(TINY)
    config["models"] = {"resnet18": {"architecture": "resnet18"}, "resnet20": {"architecture": "resnet20"}}
    config["training"]["pgd"] = {
        "epochs": 4,
        "adversary": {"method": "pgd", "eps": "8/255", "step": "2/255", "iterations": 10},
    }
    config["training"]["longer"] = {**config["training"]["standard"], "epochs": 40}
    return Estimator(read_experiment(config | changes), data)


def test_limits_leave_room_over_what_was_measured():
    """On a core a ResNet-18 trained 78 images a second in float32, in 1.1 GB; single-step training takes two passes."""
    needs = estimator().training("resnet18-adversarial-s0", gpu=False)
    measured = 2 * 2 * 60000 / 78 / 60
    assert 1.5 * measured < needs.minutes < 6 * measured
    assert 1100 < needs.mb < 10000


@pytest.mark.parametrize("gpu", [False, True])
def test_time_grows_with_epochs_steps_images_width_and_pixels(gpu):
    def minutes(run="resnet18-standard-s0", data=CIFAR, **changes):
        return estimator(data, **changes).training(run, gpu).minutes - 10

    base = minutes()
    assert minutes("resnet18-longer-s0") == pytest.approx(10 * base, abs=10)
    assert minutes("resnet18-pgd-s0") == pytest.approx(11 * base, abs=10)
    assert minutes(data=DataSize(600000, 10, 32)) == pytest.approx(10 * base, abs=10)
    assert minutes(data=DataSize(60000, 10, 224, 224)) == pytest.approx(49 * base, abs=49)


def test_a_gpu_is_given_less_time():
    slow, fast = (estimator().training("resnet18-longer-s0", gpu).minutes for gpu in (False, True))
    assert slow > 5 * fast


def test_a_shard_needs_its_share_of_the_time():
    whole = estimator().attack("resnet18-standard-s0", "apgd", gpu=False).minutes - 10
    part = estimator(shards={"attacks": 4}).attack("resnet18-standard-s0", "apgd", gpu=False).minutes - 10
    assert part == pytest.approx(whole / 4, abs=1)
    whole = estimator().features("resnet20-standard-s0", gpu=False).minutes - 10
    part = estimator(shards={"features": 5}).features("resnet20-standard-s0", gpu=False).minutes - 10
    assert part == pytest.approx(whole / 5, abs=1)


def minutes_of(attack, gpu=False, data=CIFAR):
    resources = estimator(data, attacks={**TINY["attacks"], "x": {"max_images": 10000, **attack}})
    return resources.attack("resnet18-standard-s0", "x", gpu).minutes - 10


def test_torchattacks_time_follows_parameters():
    pgd = {"method": "pgd", "eps": 0.1, "parameters": {"steps": 98}}
    longer = pgd | {"parameters": {"steps": 998}}
    assert minutes_of(longer) == pytest.approx(10 * minutes_of(pgd), abs=10)
    assert minutes_of(pgd) == pytest.approx(100 * precomputed_minutes(10000), abs=50)
    assert minutes_of({"eps": 0.1, "iterations": 98}) == minutes_of(pgd)
    square = [minutes_of({"method": "square", "eps": 0.1, "parameters": {"n_queries": n}}) for n in (1000, 2000)]
    assert square[1] == pytest.approx(2 * square[0], rel=0.01)
    assert minutes_of({"method": "fgsm", "eps": 0.1}) < minutes_of({"method": "mifgsm", "eps": 0.1})
    few, many = (minutes_of({"method": "deepfool"}, data=DataSize(60000, classes, 32)) for classes in (10, 100))
    assert many > 5 * few
    assert minutes_of({"method": "onepixel", "eps": 20}) > 5 * minutes_of({"method": "onepixel", "eps": 1})


def precomputed_minutes(images=60000):
    resources = estimator(DataSize(images, 10, 32), attacks={**TINY["attacks"], "x": PRECOMPUTED})
    return resources.attack("resnet18-standard-s0", "x", gpu=False).minutes - 10


@pytest.mark.parametrize("method", METHODS)
def test_every_attack_of_the_zoo_has_an_estimate(method):
    attack = {"method": method} | ({"eps": 1} if METHODS[method].radius else {})
    slow, fast = minutes_of(attack), minutes_of(attack, gpu=True)
    assert slow > fast >= 0


def test_precomputed_attack_time_of_one_pass():
    """A ResNet-18 trained 78 images a second, which is a pass forward and backward of each."""
    measured = 60000 / 78 / 60
    assert measured < precomputed_minutes() < 6 * measured
    training = estimator().training("resnet18-longer-s0", gpu=False).minutes - 10
    assert precomputed_minutes() == pytest.approx(training / 40, abs=1)


def test_layers_are_those_of_the_network():
    """73,728 and 61,440 values an image, flattened (DESIGN: the paper's networks)."""
    experiment = estimator()
    for run, values in (("resnet20-standard-s0", 73728), ("resnet18-standard-s0", 61440)):
        assert sum(experiment._layers(experiment._model(run))) == values


def test_memory_grows_with_classes_and_pixels():
    run = "resnet20-standard-s0"
    few, many = (estimator(DataSize(60000, classes, 32)).over_features(run).mb for classes in (10, 1000))
    assert many - few == pytest.approx(990 * 16384 * 32 / 1e6, abs=2)
    assert estimator(DataSize(60000, 10, 224, 224)).attack(run, "apgd", True).mb > 10000


def test_everything_is_whole_numbers():
    jobs = estimator()
    run = "resnet20-standard-s0"
    needs = [jobs.reading(), jobs.training(run, True), jobs.attack(run, "apgd", False), jobs.features(run, True),
             jobs.over_features(run), jobs.over_paths(), jobs.detectors(run, False),
             jobs.streamed_classes(run, True), jobs.streamed_paths(run, False), jobs.adaptive(run, True),
             jobs.controls(run, False)]  # fmt: skip
    for one in needs:
        assert isinstance(one, Needs)
        assert all(isinstance(value, int) and value > 0 for value in one)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("job", ["streamed_classes", "streamed_paths", "detectors"])
def test_streams_need_more_time_for_more_images_and_no_more_memory(job, gpu):
    few, many = (
        getattr(estimator(DataSize(count, 10, 224, 224), features={"storage": "stream"}), job)(
            "resnet18-standard-s0", gpu
        )
        for count in (20_000, 200_000)
    )
    assert many.mb == few.mb
    assert many.minutes - 10 == pytest.approx(10 * (few.minutes - 10), abs=10)


def test_streams_read_many_classes_in_several_passes():
    """2^28 sums, or as many as a layer has alone: 64 x 112 x 112 for each of 1,000 classes."""
    needs = estimator(DataSize(100_000, 1000, 224, 224), features={"storage": "stream"})
    assert 2 * 8 * 1000 * 64 * 112**2 / 1e6 < needs.streamed_classes("resnet18-standard-s0", True).mb < 60_000


def test_a_shard_of_streamed_paths_needs_its_share_of_the_time():
    whole, part = (
        estimator(features={"storage": "stream"}, shards={"features": count}).streamed_paths("resnet20-pgd-s0", False)
        for count in (1, 5)
    )
    assert part.minutes - 10 == pytest.approx((whole.minutes - 10) / 5, abs=1)


@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_limits_of_adaptive_attacks_leave_room_over_passes_and_defence(classes):
    """78 passes a second, and 1e9 products of features and centroids, on a core: full-width ResNet-18, all images."""
    jobs = estimator(DataSize(1000, classes, 32), attacks={"apgd": {**TINY["attacks"]["apgd"], "max_images": 128}})
    adaptive = jobs.experiment.adaptive
    per_pass = 1 / 78 + 61440 * classes / 1e9
    for needs, passes, images in (
        (jobs.adaptive, passes_of_adaptive(adaptive, len(jobs.experiment.detectors), classes), adaptive.max_images),
        (jobs.controls, passes_of_controls(adaptive, adaptive.controls, classes), adaptive.controls.max_images),
    ):
        minutes = needs("resnet18-standard-s0", gpu=False).minutes
        assert 2 * passes * images * per_pass / 60 < minutes < 10 + 4 * passes * images * per_pass / 60
