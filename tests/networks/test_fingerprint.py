"""Networks that are changed after a defence was fitted to them: what is noticed, and what is no change."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featurepaths import FeaturePathDefense, FeaturePathsError

LAYERS = ["0", "1", "2"]
IMAGES, LABELS = torch.rand(96, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(96) % 3
LOADER = DataLoader(TensorDataset(IMAGES, LABELS), 32)


def network():
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(1 if i == 0 else 8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for i in range(3)
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(), nn.Linear(8 * 64, 3))


@pytest.fixture
def defense():
    module = FeaturePathDefense(network(), LAYERS, "mean").fit(LOADER, detection_layers=[1, 2])
    return module.calibrate(LOADER)


def passes(defense):
    """Every way to the network."""
    return {
        "predict": defense.predict,
        "score": defense.score,
        "paths": defense.paths,
        "logits": defense.logits,
        "forward": defense,
        "encoder": defense.encoder,
        "recogniser": defense.as_recogniser(),
        "detector": defense.as_detector(),
    }


def step(optimiser):
    def change(model):
        optimise = optimiser(model.parameters(), lr=1e-3)
        nn.functional.cross_entropy(model(IMAGES[:8]), LABELS[:8]).backward()
        optimise.step()

    return change


@torch.no_grad()
def edit_in_place(model):
    model[5].weight[1, 100] += 1e-3  # is none of the values that are always compared


def assign_data(model):
    model[5].weight.data = model[5].weight.data + 1e-3


def scale_data(model):
    for each in model.parameters():
        each.data.mul_(0.999)  # which PyTorch does not count


def edit_by_numpy(model):
    model[5].bias.detach().numpy()[1] += 1e-3


def load_other_weights(model):
    torch.manual_seed(1)
    model.load_state_dict({name: values + 1e-3 for name, values in model.state_dict().items()})


def move_statistics(model):
    model.train()(IMAGES[:8])


def forget_the_count(model):
    """Statistics that move by themselves: nothing counts changes of these."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None
    model.train()(IMAGES[:8])


def replace_a_layer(model):
    model[5] = nn.Linear(8 * 64, 3)


CHANGES = {
    "SGD": step(torch.optim.SGD),
    "Adam": step(torch.optim.Adam),
    "one weight in place": edit_in_place,
    "data assigned": assign_data,
    "data in place": scale_data,
    "NumPy": edit_by_numpy,
    "load_state_dict": load_other_weights,
    "batch statistics": move_statistics,
    "batch statistics, uncounted": forget_the_count,
    "another layer": replace_a_layer,
    "half": nn.Module.half,
    "double": nn.Module.double,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_network_that_was_changed_is_refused_by_every_pass_and_not_saved(defense, change, tmp_path):
    change(defense.encoder.network.network)
    for use in (*passes(defense).values(), lambda images: defense.calibrate([(images, LABELS[:8])])):
        with pytest.raises(FeaturePathsError, match="Call fit again"):
            use(IMAGES[:8])
    with pytest.raises(FeaturePathsError, match="Call fit again"):
        defense.save(tmp_path / "defense.safetensors")


@pytest.mark.parametrize("change", ["SGD", "data in place", "batch statistics"])
def test_a_changed_network_can_be_fitted_to_again_or_restored(defense, change):
    model, before = defense.encoder.network.network, defense.predict(IMAGES[:8])
    weights = copy.deepcopy(model.state_dict())
    CHANGES[change](model)
    with pytest.raises(FeaturePathsError, match="Call fit again"):
        defense.predict(IMAGES[:8])
    model.load_state_dict(weights)
    assert torch.equal(defense.predict(IMAGES[:8]).score, before.score)
    CHANGES[change](model)
    defense.fit(LOADER, detection_layers=[1, 2]).calibrate(LOADER)
    defense.predict(IMAGES[:8])


def test_a_fit_that_fails_leaves_the_fingerprint_as_it_leaves_the_centroids(defense):
    CHANGES["SGD"](defense.encoder.network.network)
    with pytest.raises(FeaturePathsError, match="no image"):
        defense.fit([], detection_layers=[1])
    with pytest.raises(FeaturePathsError, match="Call fit again"):
        defense.predict(IMAGES[:8])


def test_a_network_that_is_trained_while_a_defence_is_fitted_is_refused(defense):
    def loader():
        yield IMAGES[:48], LABELS[:48]
        CHANGES["SGD"](defense.encoder.network.network)
        yield IMAGES[48:], LABELS[48:]

    with pytest.raises(FeaturePathsError, match="Call fit again"):
        defense.fit(loader(), detection_layers=[1])


def same_weights_again(defense):
    model = defense.encoder.network.network
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    return defense


def there_and_back(defense):
    return defense.double().float()


def other_layout(defense):
    defense.encoder.network.network.to(memory_format=torch.channels_last)
    return defense


def saved_and_loaded(defense, path):
    defense.save(path)
    return FeaturePathDefense.load(path, defense.encoder.network.network)


SAME = {
    "the same weights": same_weights_again,
    "double and back": there_and_back,
    "channels last": other_layout,
    "shared memory": nn.Module.share_memory,
    "requires_grad": lambda defense: defense.requires_grad_(False),
    "deep copy": copy.deepcopy,
    "pickle": lambda defense: pickle.loads(pickle.dumps(defense)),
}


@pytest.mark.parametrize("same", SAME.values(), ids=SAME.keys())
def test_what_changes_no_value_is_no_change(defense, same, tmp_path):
    before = defense.predict(IMAGES[:8])
    moved = same(defense)
    assert torch.allclose(moved.predict(IMAGES[:8]).score, before.score, atol=1e-6)
    again = saved_and_loaded(moved, tmp_path / "defense.safetensors")
    assert torch.allclose(again.predict(IMAGES[:8]).score, before.score, atol=1e-6)
    for each in (moved, again):  # and what is a change is one afterwards, to views made before too
        view = each.as_recogniser()
        scale_data(each.encoder.network.network)
        with pytest.raises(FeaturePathsError, match="Call fit again"):
            view(IMAGES[:8])
        each.encoder.network.network.load_state_dict(network().state_dict())


def test_a_moved_network_is_read_anew_so_that_uncounted_changes_are_still_noticed(defense):
    moved = there_and_back(defense)
    moved.predict(IMAGES[:8])
    scale_data(moved.encoder.network.network)
    with pytest.raises(FeaturePathsError, match="Call fit again"):
        moved.predict(IMAGES[:8])


def test_a_copy_is_changed_alone(defense):
    other = copy.deepcopy(defense)
    CHANGES["SGD"](other.encoder.network.network)
    defense.predict(IMAGES[:8])
    with pytest.raises(FeaturePathsError, match="Call fit again"):
        other.predict(IMAGES[:8])


def test_a_pickle_holds_the_weights_once(defense):
    plain = len(pickle.dumps(defense.encoder.network))
    assert len(pickle.dumps(defense)) < 1.5 * plain + 20_000


def test_weights_and_statistics_that_are_nan_are_the_same_as_before(defense):
    """A statistic that no pass reads may be anything."""
    model = defense.encoder.network.network
    model.register_buffer("unused", torch.tensor([torch.nan, 1.0]))
    defense.fit(LOADER, detection_layers=[1, 2]).calibrate(LOADER).predict(IMAGES[:8])


WAYS = ["predict", "score", "paths", "logits", "forward", "encoder", "recogniser", "detector"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["all", "one"])
def test_every_pass_is_in_evaluation_mode_whatever_was_left_behind(defense, way, part):
    model = defense.encoder.network.network
    use = passes(defense)[way]
    expected, mean = use(IMAGES[:8]), model[0][1].running_mean.clone()
    (model if part == "all" else model[0][1]).train()
    actual = use(IMAGES[:8])
    one_by_one = [use(image.unsqueeze(0)) for image in IMAGES[:8]]
    if way == "predict":
        expected, actual = expected.score, actual.score
        one_by_one = [each.score for each in one_by_one]
    assert torch.equal(actual, expected)
    torch.testing.assert_close(torch.cat(one_by_one), expected, rtol=1e-2, atol=1e-2)
    assert torch.equal(model[0][1].running_mean, mean)
    assert not any(module.training for module in model.modules())


def test_learning_is_in_evaluation_mode_whatever_a_loader_does_to_the_network():
    results, model = [], network()

    def loader():
        for images, labels in LOADER:
            model.train()
            yield images, labels

    for batches in (LOADER, loader()):
        defense = FeaturePathDefense(model, LAYERS, "mean").fit(batches, detection_layers=[1])
        results.append(defense.centroids)
    for actual, expected in zip(*results, strict=True):
        assert torch.equal(actual, expected)


def test_an_attack_that_leaves_the_network_in_training_mode_changes_nothing(defense):
    """torchattacks puts a wrapper that was made after `eval` into training mode when it is done."""
    library = pytest.importorskip("torchattacks")
    model = defense.encoder.network.network
    before, mean = defense.predict(IMAGES[:8]), model[0][1].running_mean.clone()
    library.PGD(nn.Sequential(nn.Identity(), model), steps=2)(IMAGES[:8], LABELS[:8])
    assert model.training
    assert torch.equal(defense.predict(IMAGES[:8]).score, before.score)
    assert torch.equal(model[0][1].running_mean, mean)
