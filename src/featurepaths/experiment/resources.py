"""Memory and time that jobs need, by the size of their work: what a cluster is asked for.

These are limits and no forecasts: about three times what the paper's networks took at 32x32 pixels on a CPU; for GPUs
it is a careful guess. A job that needs more is ended by its cluster, and a retry asks for more.
"""

from typing import NamedTuple

from featurepaths.attacks.torchattacks.methods import METHODS
from featurepaths.data.size import DataSize
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.networks import AnyModel, PretrainedNetwork
from featurepaths.experiment.passes import (
    passes_of_adaptive,
    passes_of_attack,
    passes_of_controls,
    passes_of_training,
)
from featurepaths.experiment.run import Run
from featurepaths.networks.architectures import BLOCKS

PASSES_PER_SECOND = {False: 80.0, True: 1600.0}
"""Images a second, forward and backward, through a network of width 64 at 32x32: on one CPU thread, on a GPU."""
BYTES_PER_SECOND = 50e6
"""Features read from or written to a network file system."""
PRODUCTS_PER_SECOND = 1e9
"""Values of features compared with a class on one CPU thread."""
MARGIN = 3
TORCH_MB = 3000
"""A process with torch and CUDA before it does anything."""
CPU_TORCH_MB = 1000
"""A process with torch, without CUDA."""
PASS_MB = 6
"""One image, forward and backward, through a network of width 64 at 32x32."""
GIVEN_TIMES = 2
"""A network that is given, as nobody knows it: twice what the paper's network of width 64 needs, as a ResNet-50."""
GIVEN_LAYERS, GIVEN_LAYER = 16, 8192
"""Likewise: its layers, and the values of each one at 32x32; of a ResNet-50 at 224x224, 16 and 7,000."""
SLOWER_ALONE = {False: 2, True: 20}
"""How much slower it is to pass images through the network one by one than in blocks of 64: on one CPU thread, on a
GPU."""


class Needs(NamedTuple):
    """Memory in MB and time in minutes that one job requests."""

    mb: int
    minutes: int


class Estimator:
    """The needs of an experiment's jobs.

    Parameters
    ----------
    experiment
        The configuration.
    data
        The size of its data set, all splits together.
    here
        Whether jobs run on this machine, where what they need is known more closely than on the nodes of a cluster:
        passes on a GPU need none of this machine's memory, and passes on a CPU need no CUDA.
    """

    def __init__(self, experiment: Experiment, data: DataSize, *, here: bool = False):
        self.experiment, self.data, self.here = experiment, data, here

    def reading(self) -> Needs:
        """Reading the data set."""
        return self._needs(2000, self.data.images * self.data.area / 500)

    def network(self, run: str) -> Needs:
        """Building a network that is given, and running it once."""
        return self._needs(2 * TORCH_MB + PASS_MB * self._activations(self._model(run)), 0)

    def training(self, run: str, gpu: bool) -> Needs:
        """Training a run."""
        model, options = self._model(run), self.experiment.training[Run.parse(run).training]
        resident = min(self.experiment.in_memory_mb, self.data.images * 3 * self.data.height * self.data.width / 1e6)
        mb = resident + self._running(model, options.batch_size, gpu)
        return self._needs(mb, self._seconds(model, passes_of_training(options) * self.data.images, gpu))

    def attack(self, run: str, attack: str, gpu: bool) -> Needs:
        """A shard of an attack on any split."""
        model, options = self._model(run), self.experiment.attacks[attack]
        images = min(options.max_images or self.data.images, self.data.images) / self.experiment.shards.attacks
        mb = self._running(model, 64, gpu)
        passes = passes_of_attack(options, self.data.classes)
        if options.method in METHODS and METHODS[options.method].alone:
            passes *= SLOWER_ALONE[gpu]
        return self._needs(mb, self._seconds(model, images * passes, gpu))

    def adaptive(self, run: str, gpu: bool) -> Needs:
        """A shard of all attacks on a frozen defence."""
        adaptive = self.experiment.adaptive
        passes = passes_of_adaptive(adaptive, len(self.experiment.detectors), self.data.classes)
        images = self._attacked(adaptive.max_images) / self.experiment.shards.attacks
        return self._searching(run, images * passes, gpu)

    def controls(self, run: str, gpu: bool) -> Needs:
        """The controls of the attacks on a frozen defence."""
        adaptive, controls = self.experiment.adaptive, self.experiment.adaptive.controls
        passes = passes_of_controls(adaptive, controls, self.data.classes)
        images = min(self._attacked(adaptive.max_images), controls.max_images)
        return self._searching(run, images * passes, gpu)

    def detectors(self, run: str, gpu: bool) -> Needs:
        """Calibrating and testing rival detectors, on feature dumps or, on a GPU perhaps, by running the network."""
        model = self._model(run)
        values = sum(self._layers(model))
        centroids = 4 * self.data.classes * values / 1e6
        if self.experiment.features.storage != "stream":
            mb = TORCH_MB + centroids + 2048 * values * 4 * 2 / 1e6
            return self._needs(mb, 8 * self.data.images * values / BYTES_PER_SECOND)
        passes = 1 + sum(len(attack.stopping_rule) for attack in self.experiment.attacks.values())
        images = self.data.images * passes
        return self._needs(self._streaming_mb(model) + centroids, self._streaming_seconds(model, images, gpu))

    def features(self, run: str, gpu: bool) -> Needs:
        """A shard of the layer features of any images."""
        model = self._model(run)
        images = self.data.images / self.experiment.shards.features
        values = sum(self._layers(model))
        seconds = self._seconds(model, images / 2, gpu) + 2 * images * values / BYTES_PER_SECOND
        return self._needs(self._torch(gpu) + 64 * values * 16 / 1e6, seconds)

    def streamed_classes(self, run: str, gpu: bool) -> Needs:
        """Class means and collapse metrics of the training images, in two passes of the network."""
        model = self._model(run)
        of_each = [self.data.classes * values for values in self._layers(model)]
        together = max(*of_each, min(2**28, len(self.experiment.features.poolings) * sum(of_each)))
        mb = self._streaming_mb(model) + (2 * 8 * together + 6 * 8 * max(of_each)) / 1e6
        return self._needs(mb, self._streaming_seconds(model, 2 * self.data.images, gpu))

    def streamed_paths(self, run: str, gpu: bool) -> Needs:
        """A shard of the feature paths of any images, in a pass of the network."""
        model = self._model(run)
        of_each = [self.data.classes * values for values in self._layers(model)]
        mb = self._streaming_mb(model) + 4 * max(*of_each, min(2**28, sum(of_each))) / 1e6
        images = self.data.images / self.experiment.shards.features
        return self._needs(mb, self._streaming_seconds(model, images, gpu))

    def over_features(self, run: str) -> Needs:
        """Anything that reads a dump: centroids, collapse metrics, feature paths; or gathers one."""
        layers = self._layers(self._model(run))
        chunk = max(64 * max(layers), 2**23)
        mb = 500 + (32 * self.data.classes * max(layers) + 16 * chunk) / 1e6
        return self._needs(mb, 4 * self.data.images * sum(layers) / BYTES_PER_SECOND)

    def over_paths(self) -> Needs:
        """Anything that reads feature paths or counts."""
        return Needs(1000, 5)

    def _attacked(self, images: int | None) -> int:
        """How many images an adaptive attack attacks at most."""
        of_the_attack = self.experiment.attacks[self.experiment.adaptive.attack].max_images
        return min(images or self.data.images, of_the_attack or self.data.images, self.data.images)

    def _searching(self, run: str, passes: float, gpu: bool) -> Needs:
        """Searches with a number of passes through the network and the defence, of all images together."""
        model = self._model(run)
        products = passes * sum(self._layers(model)) * self.data.classes
        defence = products / PRODUCTS_PER_SECOND * PASSES_PER_SECOND[False] / PASSES_PER_SECOND[gpu]
        return self._needs(self._running(model, 64, gpu), self._seconds(model, passes, gpu) + defence)

    def _model(self, run: str) -> AnyModel:
        return self.experiment.models[Run.parse(run).model]

    def _torch(self, gpu: bool) -> float:
        """MB of a process with torch before it does anything."""
        return CPU_TORCH_MB if self.here and not gpu else TORCH_MB

    def _running(self, model: AnyModel, images: int, gpu: bool) -> float:
        """MB of a process that passes so many images at a time through a network, forward and backward."""
        passes = 0 if self.here and gpu else images * PASS_MB * self._activations(model)
        return self._torch(gpu) + passes

    def _activations(self, model: AnyModel) -> float:
        """Values of all layers, relative to width 64 at 32x32."""
        if isinstance(model, PretrainedNetwork):
            return GIVEN_TIMES * self._area(model)
        return model.width / 64 * self.data.area

    def _area(self, model: PretrainedNetwork) -> float:
        """Pixels of a pretrained network's images, relative to those of an image of CIFAR."""
        return (model.size / 32) ** 2 if model.size else self.data.area

    def _layers(self, model: AnyModel) -> list[float]:
        """Values of each layer's flattened feature."""
        if isinstance(model, PretrainedNetwork):
            return [GIVEN_LAYER * self._area(model)] * GIVEN_LAYERS
        return [
            model.width * 2**stage * self.data.height * self.data.width / 4 ** (stage + 1)
            for stage, blocks in enumerate(BLOCKS[model.architecture])
            for _ in range(blocks)
        ]

    def _streaming_mb(self, model: AnyModel) -> float:
        """A block of 64 images in all layers, and copies in float64 of parts of one."""
        return TORCH_MB + 64 * sum(self._layers(model)) * 16 / 1e6 + 400

    def _streaming_seconds(self, model: AnyModel, images: float, gpu: bool) -> float:
        """Passes forward, and what is made of the features on the CPU."""
        products = images * sum(self._layers(model)) * (20 + self.data.classes)
        return self._seconds(model, images / 2, gpu) + products / PRODUCTS_PER_SECOND

    def _seconds(self, model: AnyModel, passes: float, gpu: bool) -> float:
        width = 64 if isinstance(model, PretrainedNetwork) else model.width
        return passes * self._activations(model) * width / 64 / PASSES_PER_SECOND[gpu]

    @staticmethod
    def _needs(mb: float, seconds: float) -> Needs:
        return Needs(round(mb), 10 + round(MARGIN * seconds / 60))
