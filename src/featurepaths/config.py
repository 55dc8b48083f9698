"""The experiment's configuration: its types, its documentation, its checks.

`python -m featurepaths.config` prints the JSON schema kept in ``schemas/``. Stages do not import this module: each gets
its slice of the configuration from its rule.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PlainSerializer,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from featurepaths.attacks.methods import METHODS, Parameter, complete
from featurepaths.attacks.radius import NORMALISED, too_far
from featurepaths.datasets import TORCHVISION
from featurepaths.errors import FeaturePathsError
from featurepaths.factories import FACTORY
from featurepaths.networks.architectures import layer_count, missing_layers


def _exact(value: Any) -> Any:
    """Turn 0.1, "0.1" or "8/255" into the fraction that is written there, not into the nearest float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError("should be a number or a fraction such as 8/255")
    try:
        return Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"'{value}' is not a number or a fraction such as 8/255") from None


def _positive(value: Fraction) -> Fraction:
    if value <= 0:
        raise ValueError("should be greater than 0")
    return value


def _reachable(value: Fraction | None, norm: str | None) -> Fraction | None:
    """Say so if a radius or a step, in pixel values or pixels, is greater than images are apart."""
    if value is not None and norm is not None and (problem := too_far(value, norm)):
        raise ValueError(problem)
    return value


def _pixels(value: Fraction) -> Fraction:
    return _reachable(value, "linf")


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("names something twice")
    return values


def _ascending(values: list) -> list:
    return sorted(_distinct(values))


def _descending(values: list) -> list:
    return sorted(values, reverse=True)


def _meant(given: Any, known: Iterable[str]) -> str:
    """Return a question about what was meant, to end a message with, if something is close."""
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _known_dataset(name: Any) -> Any:
    if str(name) not in TORCHVISION:
        more = _meant(name, TORCHVISION) or f"; known are {', '.join(TORCHVISION)}"
        raise ValueError(f"'{name}' is no data set of torchvision with a training and a test part{more}")
    return name


NUMBER = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(/\s*[0-9]+\s*)?$"}]}
Exact = Annotated[Fraction, BeforeValidator(_exact), PlainSerializer(str), WithJsonSchema(NUMBER)]
Positive = Annotated[Exact, AfterValidator(_positive)]
Pixels = Annotated[Positive, AfterValidator(_pixels)]
"""A radius or a step of L-infinity."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=60)]
"""What names a folder or a file: letters, digits and underscores, because `-` and `.` separate names in paths."""


def _not_one(layers: list[int]) -> list[int]:
    if len(layers) == 1:
        raise ValueError("name two layers or more, or none")
    return layers


Layers = Annotated[
    list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct), AfterValidator(sorted)
]
Combined = Annotated[
    list[Annotated[int, Field(ge=1)]], AfterValidator(_distinct), AfterValidator(_not_one), AfterValidator(sorted)
]
Arguments = dict[str, Annotated[JsonValue, WithJsonSchema({})]]
"""What a function is given, by name."""
Weights = Literal["equal"] | list[Exact]
Rates = Annotated[
    list[Annotated[Exact, Field(gt=0, lt=1)]],
    Field(min_length=1),
    AfterValidator(_distinct),
    AfterValidator(_descending),
]
Keep = Literal["first-success", "last-success", "max-loss"]
AnyKeep = Literal["first-success", "last-success", "max-loss", "returned"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["auto", "float32", "bfloat16"]
Pooling = Literal["flatten", "mean"]
Objective = Literal["evade", "misvote", "match-features", "selective", "orthogonal"]
Rival = Literal[
    "confidence",
    "two-sided-confidence",
    "energy",
    "mahalanobis",
    "nearest-neighbours",
    "transport",
    "path-density",
]


GIVEN = "given"
"""What stands for the training of a network that was trained elsewhere."""


def _names_a_function(text: str) -> str:
    if not re.fullmatch(FACTORY, text):
        raise ValueError(f"should be package.module:function, not '{text}'")
    return text


Function = Annotated[str, AfterValidator(_names_a_function)]
"""The name of a function of the user's."""


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Digits(Section):
    """scikit-learn's handwritten digits: 1,797 images that come with the library."""

    source: Literal["digits"]
    size: int = Field(32, ge=32, le=256, multiple_of=32)
    """Height and width, in pixels, that the 8x8 images are enlarged to."""
    test: Annotated[Exact, Field(gt=0, lt=1)] = Fraction(1, 5)
    """Share of the images that are test images."""
    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that become the calibration split; 0 leaves only the `paper` protocol."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which image falls in which split."""


class Cifar(Section):
    """CIFAR-10 or CIFAR-100, read by torchvision."""

    source: Literal["cifar10", "cifar100"]
    root: str
    """Folder that holds (or, with `download`, will hold) `cifar-10-batches-py` or `cifar-100-python`."""
    download: bool = False
    """Whether torchvision may download it."""
    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that become the calibration split; 0 leaves only the `paper` protocol."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which image falls in which split."""


class Folder(Section):
    """PNG and JPEG files in `train/<class>/` and `test/<class>/`."""

    source: Literal["folder"]
    root: str
    """Folder that holds `train` and `test`."""
    size: int | None = Field(None, ge=32)
    """Height and width that the middle square of each image is resized to; null takes images that are all alike."""
    title: str = "image folder"
    """What the images are, to be stored with them; changes no number."""
    stands_for: Literal["cifar10"] | None = None
    """Data set whose published numbers are shown beside the results."""
    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that become the calibration split; 0 leaves only the `paper` protocol."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which image falls in which split."""


class ArrayKeys(Section):
    """What the arrays are called in their files, where they are not called so, or `images` and `labels`."""

    train_images: str | None = None
    train_labels: str | None = None
    test_images: str | None = None
    test_labels: str | None = None


class Arrays(Section):
    """Images and labels in NumPy's npz or in HDF5."""

    source: Literal["arrays"]
    train: str
    """File of the training images: uint8, or floats in [0, 1] that are multiples of 1/255; and of their labels, whole
    numbers from 0."""
    test: str
    """File of the test images and labels; the same one if it holds `train_images`, `train_labels`, `test_images` and
    `test_labels`."""
    keys: ArrayKeys = ArrayKeys()
    layout: Literal["NHWC", "NCHW"] | None = None
    """Order of the axes; null takes the one of length 1 or 3 for the channels. Images without channels are grey."""
    size: int | None = Field(None, ge=32)
    """Height and width that the middle square of each image is resized to; null leaves them as they are."""
    class_names: Annotated[list[str], Field(min_length=2)] | None = None
    """Names of the classes 0, 1, ...; null for their numbers."""
    title: str = "arrays"
    """What the images are, to be stored with them; changes no number."""
    stands_for: Literal["cifar10"] | None = None
    """Data set whose published numbers are shown beside the results."""
    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that become the calibration split; 0 leaves only the `paper` protocol."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which image falls in which split."""


class Torchvision(Section):
    """A data set that torchvision reads; its files are taken for what torchvision takes them for."""

    source: Literal["torchvision"]
    dataset: Annotated[Literal[tuple(TORCHVISION)], BeforeValidator(_known_dataset)]
    """Its class in `torchvision.datasets`."""
    root: Annotated[str | None, Field(validate_default=True)] = None
    """Folder that holds (or, with `download`, will hold) its files."""
    download: bool = False
    """Whether torchvision may download it."""
    arguments: Arguments = {}
    """What else the class is given, such as `split: letters` of EMNIST."""
    train: Arguments = {}
    """What it is given for the training images alone, such as `split: trainval`."""
    test: Arguments = {}
    """What it is given for the test images alone."""
    size: int | None = Field(None, ge=32)
    """Height and width that the middle square of each image is resized to; null takes images that are all alike."""
    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that become the calibration split; 0 leaves only the `paper` protocol."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which image falls in which split."""

    @field_validator("root")
    @classmethod
    def _root_is_there(cls, root: str | None, info: ValidationInfo) -> str | None:
        if root is None and info.data.get("dataset") != "FakeData":
            raise ValueError("root is missing: the folder that holds the files")
        return root

    @model_validator(mode="after")
    def _parts_differ(self):
        train, test = (
            {**defaults, **self.arguments, **own}
            for defaults, own in zip(TORCHVISION[self.dataset], (self.train, self.test), strict=True)
        )
        if train == test:
            raise ValueError(
                f"the training and the test images would be the same, those of {train}; say in train and test what "
                "tells them apart"
            )
        return self


class Factory(Section):
    """What a function of one's own makes."""

    source: Literal["factory"]
    factory: Function
    """The function, as `package.module:function`, found in the working directory or where Python looks: it returns
    (train, test, class_names). See docs/own-data.md."""
    arguments: Arguments = {}
    """What it is given, by name."""
    layout: Literal["NHWC", "NCHW"] | None = None
    """Order of the axes of arrays; null takes the one of length 1 or 3 for the channels."""
    size: int | None = Field(None, ge=32)
    """Height and width that the middle square of each image is resized to; null takes images that are all alike."""
    stands_for: Literal["cifar10"] | None = None
    """Data set whose published numbers are shown beside the results."""
    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that become the calibration split; 0 leaves only the `paper` protocol."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which image falls in which split."""


class Model(Section):
    """A network of the paper's Table 1."""

    architecture: Literal["resnet20", "resnet18"]
    width: int = Field(64, ge=1)
    """Channels of the first stage; the paper's networks have 64."""
    stem: Literal["conv", "pool"] = "conv"
    """How 32x32 images become 16x16: a 3x3 convolution of stride 2, or one of stride 1 and a max-pool."""


Modules = Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
"""Names of modules of a network."""


class GivenNetwork(Section):
    """A network of your own, trained already: of torchvision, timm, or your own package."""

    factory: Function
    """`package.module:function`, a function (or class) that makes the network: a `torch.nn.Module` that maps images
    [N, C, H, W] to logits. It is looked for in the working directory first."""
    arguments: dict[str, Any] = {}
    """What the function is given, by name."""
    checkpoint: str | None = None
    """Its weights: a `.safetensors` file, or a `.pt` or `.pth` file with a state dict, of which no code is executed.
    null leaves those that the function gives it."""
    mean: list[Exact] | None = None
    """What is subtracted from each channel of images in [0, 1] before the network sees them."""
    std: list[Positive] | None = None
    """What each channel is divided by then."""
    size: int | None = Field(None, ge=1)
    """Height and width that images are resized to first, if the network needs others than the data have."""
    layers: Annotated[
        Annotated[str, Tag("text")] | Annotated[Modules, Tag("list")],
        Discriminator(lambda layers: "list" if isinstance(layers, list) else "text"),
    ] = "auto"
    """Modules that are the layers: their names, a pattern such as `layer?.*`, or `auto` for the network's blocks.
    `featurepaths layers <config>` lists them."""

    @model_validator(mode="after")
    def _normalisation_is_whole(self):
        if (self.mean is None) != (self.std is None) or len(self.mean or []) != len(self.std or []):
            raise ValueError("mean and std: give both, for the same channels, or neither")
        return self


def _kind_of_model(model: Any) -> str:
    """Return the section that describes a network: a given one has a factory."""
    given = "factory" in model if isinstance(model, Mapping) else isinstance(model, GivenNetwork)
    return "GivenNetwork" if given else "Model"


AnyModel = Annotated[
    Annotated[Model, Tag("Model")] | Annotated[GivenNetwork, Tag("GivenNetwork")], Discriminator(_kind_of_model)
]


class Adversary(Section):
    """The attacker inside the training loop (L-infinity)."""

    method: Literal["pgd", "single-step"]
    """`pgd` (Madry et al., 2018), or `single-step` from a random start (Wong et al., 2020), many times faster."""
    eps: Pixels
    """Radius, in pixel values of [0, 1]."""
    step: Pixels | None = None
    """Step of `pgd`; `single-step` takes 1.25 eps."""
    iterations: int | None = Field(None, ge=1)
    """Steps of `pgd`."""

    @model_validator(mode="after")
    def _method_has_its_options(self):
        given = self.step is not None, self.iterations is not None
        if self.method == "pgd" and not all(given):
            raise ValueError("method pgd needs step and iterations")
        if self.method == "single-step" and any(given):
            raise ValueError("method single-step takes neither step nor iterations")
        return self


class Training(Section):
    """How networks are trained: SGD on the cross-entropy."""

    epochs: int = Field(300, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: Positive = Fraction(1, 100)
    momentum: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(9, 10)
    weight_decay: Annotated[Exact, Field(ge=0)] = Fraction(5, 10000)
    schedule: Literal["steps", "one-cycle", "constant"] = "steps"
    """`steps` divides the rate by 10 at the milestones, `one-cycle` rises to it and falls again."""
    milestones: list[Annotated[int, Field(ge=1)]] = [117, 233]
    """Epochs at whose start `steps` divides the rate."""
    augment: Literal["none", "crop-flip"] = "none"
    """`crop-flip` shifts by up to 4 pixels and mirrors at random."""
    adversary: Adversary | None = None
    """None for standard training."""
    precision: Precision = "float32"
    """`bfloat16` is autocast, and channels-last on a GPU; weights stay in float32. `auto` takes it where it is fast."""
    compile: bool = False
    """Whether `torch.compile` compiles the network first; it needs a C++ compiler."""


class Attack(Section):
    """An attack on the network alone, by AutoPGD (Croce and Hein, 2020)."""

    method: Literal["apgd"] = "apgd"
    norm: Literal["linf", "l2"] = "linf"
    eps: Positive
    """Radius, in `eps_units`."""
    eps_units: Literal["pixel", "normalised"] = "pixel"
    """What eps and step measure: values of [0, 1], or what the network sees after its normalisation (L-infinity)."""
    step: Positive | None = None
    """Initial step; 2 eps, as published, when left out."""
    iterations: int = Field(20, ge=1)
    loss: Literal["ce", "dlr"] = "ce"
    """Cross-entropy, or the difference of logits ratio."""
    keep: Annotated[list[Keep], Field(min_length=1), AfterValidator(_distinct)] = ["first-success", "max-loss"]
    """Which iterates of the search are evaluated as its adversarial example, each by itself."""
    images: int | None = Field(None, ge=1)
    """Attack only so many images of a split, evenly spaced over it."""
    precision: Precision = "float32"
    """`bfloat16` only searches: its results are judged in float32. `auto` takes it where it is fast."""
    seed: Seed = 0
    """Attack seed: added to the training seed; attacks that differ in nothing else are repetitions, which the summary
    averages first."""

    @model_validator(mode="after")
    def _units_fit_the_norm(self):
        if self.eps_units == "normalised" and self.norm != "linf":
            raise ValueError("eps_units: normalised needs norm: linf")
        for key in ("eps", "step"):
            if problem := self.too_far(getattr(self, key)):
                raise ValueError(f"{key}: {problem}")
        return self

    def too_far(self, value: Fraction | None) -> str | None:
        """Return what is wrong with a radius or a step in the attack's units; None if images are so far apart."""
        if value is None:
            return None
        if self.eps_units == "pixel":
            return too_far(value, self.norm)
        if value <= NORMALISED:
            return None
        return (
            f"{value} normalised units are more than the range of pixels; did you mean {value}/255, eps_units: pixel?"
        )


def _known_method(method: Any) -> Any:
    if str(method) not in METHODS:
        known = ["apgd", "files", *METHODS]
        raise ValueError(f"should be one of {', '.join(known)}, not '{method}'{_meant(method, known)}")
    return method


def _parameter(name: str, parameter: Parameter, value: Any) -> bool | int | str:
    """Return a parameter's value, numbers as exact text, or say what it should be."""
    if parameter.kind == "truth" and isinstance(value, bool):
        return value
    if parameter.kind == "word" and value in parameter.words:
        return value
    if (
        parameter.kind == "whole"
        and isinstance(value, int)
        and not isinstance(value, bool)
        and value >= parameter.least
        and (parameter.most is None or value <= int(parameter.most))
    ):
        return value
    if parameter.kind == "number":
        try:
            number = _exact(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if number >= 0 and (parameter.most is None or number <= Fraction(parameter.most)):
            return str(number)
    most = f" and at most {parameter.most}" if parameter.most else ""
    should = {
        "truth": "true or false",
        "word": " or ".join(parameter.words),
        "whole": f"a whole number of at least {parameter.least}{most}",
        "number": f"a number of at least 0{most}",
    }[parameter.kind]
    raise ValueError(f"{name} should be {should}, not {value!r}")


class ZooAttack(Section):
    """An attack on the network alone, by torchattacks (Kim, 2020), which has to be installed."""

    method: Annotated[Literal[tuple(METHODS)], BeforeValidator(_known_method)]
    norm: Annotated[Literal["linf", "l2", "l1", "l0"] | None, Field(validate_default=True)] = None
    """What the attack bounds or minimises: the method's first norm when left out. L0 counts pixels."""
    eps: Annotated[Positive | None, Field(validate_default=True)] = None
    """Radius in that norm, in pixel values of [0, 1], or in pixels for L0. Methods that nothing bounds, such as
    `deepfool` and `cw`, need none: with one, an example that is farther away does not count as one."""
    images: int | None = Field(None, ge=1)
    """Attack only so many images of a split, evenly spaced over it."""
    parameters: Annotated[dict[str, bool | int | float | str], Field(validate_default=True)] = {}
    """What the method lets one choose: see `docs/method.md`. torchattacks' defaults stand for what is left out, and for
    `alpha`, the step, 2.5 eps / steps."""
    keep: Annotated[list[Literal["returned"]], Field(min_length=1, max_length=1)] = ["returned"]
    """What the library returns is evaluated."""
    seed: Seed = 0
    """Attack seed: added to the training seed; attacks that differ in nothing else are repetitions, which the summary
    averages first."""

    @field_validator("norm")
    @classmethod
    def _norm_is_the_methods(cls, norm: str | None, info: ValidationInfo) -> str | None:
        method = info.data.get("method")
        if method is None:
            return norm
        known = METHODS[method].norms
        if norm is not None and norm not in known:
            raise ValueError(f"method {method} has {' or '.join(known)}, not {norm}")
        return norm or known[0]

    @field_validator("eps")
    @classmethod
    def _radius_is_there(cls, eps: Fraction | None, info: ValidationInfo) -> Fraction | None:
        method = info.data.get("method")
        if method and eps is None and METHODS[method].radius:
            raise ValueError(f"eps is missing; method {method} needs a radius")
        if eps is not None and info.data.get("norm") == "l0" and eps.denominator != 1:
            raise ValueError(f"should be a whole number of pixels, not {eps}")
        return _reachable(eps, info.data.get("norm"))

    @field_validator("parameters")
    @classmethod
    def _parameters_are_the_methods(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if not {"method", "norm", "eps"} <= info.data.keys():  # one of them is wrong, which is said already
            return given
        method = info.data["method"]
        known = METHODS[method].parameters
        for name in given:
            if name not in known:
                has = f"which has {', '.join(known)}" if known else "which has none"
                raise ValueError(f"'{name}' is no parameter of method {method}, {has}{_meant(name, known)}")
        read = {name: _parameter(name, known[name], value) for name, value in given.items()}
        if "alpha" in read and (problem := too_far(Fraction(read["alpha"]), info.data["norm"])):
            raise ValueError(f"alpha: {problem}")
        return complete(method, read, info.data["eps"])


class FilesAttack(Section):
    """Adversarial images that were made elsewhere, in place of an attack."""

    method: Literal["files"]
    test: str
    """npz or HDF5 file with `adversarial` images, uint8 or floats in [0, 1], and `index`: the position, from 0, in the
    test split of the image that each was made from. See docs/own-data.md."""
    calibration: str | None = None
    """The same of the calibration split, to calibrate on these images."""
    norm: Literal["linf", "l2", "l1", "l0"] = "linf"
    """What distances are measured in. L0 counts pixels."""
    eps: Positive | None = None
    """Radius in that norm, in pixel values of [0, 1], or in pixels for L0, which no image may leave but by rounding;
    null for any."""
    keep: Annotated[list[Literal["returned"]], Field(min_length=1, max_length=1)] = ["returned"]
    """The images themselves are evaluated."""

    @field_validator("eps")
    @classmethod
    def _radius_is_reachable(cls, eps: Fraction | None, info: ValidationInfo) -> Fraction | None:
        return _reachable(eps, info.data.get("norm"))

    @property
    def files(self) -> dict[str, str]:
        """The files that there are, by split."""
        named = {"test": self.test, "calibration": self.calibration}
        return {split: file for split, file in named.items() if file is not None}

    @property
    def images(self) -> None:
        """How many images it is limited to, as other attacks may be: all that the files hold count."""


def _section_of(attack: Any) -> str:
    """Return the section that describes an attack: AutoPGD's unless another method is named."""
    method = attack.get("method", "apgd") if isinstance(attack, Mapping) else getattr(attack, "method", "apgd")
    if method == "files":
        return "FilesAttack"
    return "Attack" if method == "apgd" else "ZooAttack"


AnyAttack = Annotated[
    Annotated[Attack, Tag("Attack")]
    | Annotated[FilesAttack, Tag("FilesAttack")]
    | Annotated[ZooAttack, Tag("ZooAttack")],
    Discriminator(_section_of),
]


class Shards(Section):
    """How work is split over several GPUs; changes no result."""

    attacks: int = Field(1, ge=1)
    """Jobs that each attack is split into."""
    features: int = Field(1, ge=1)
    """Jobs that each extraction of features is split into, or, where features are streamed, the feature paths of some
    images; one passes through the network once, an attack 40 times."""


class Features(Section):
    """What is kept of the layers' outputs."""

    poolings: Annotated[list[Pooling], Field(min_length=1), AfterValidator(_distinct)] = [
        "flatten",
        "mean",
    ]
    """`flatten` takes every value of a layer (the paper's reading), `mean` the average of each channel."""
    storage: Literal["keep", "temporary", "stream"] = "keep"
    """Where features are between the stages. `keep` dumps them to disk, by far the largest artefacts; `temporary`
    removes a dump once nothing needs it any more; `stream` dumps nothing: networks run again wherever features are
    needed, at the same results but for float16's rounding."""

    @model_validator(mode="before")
    @classmethod
    def _keep_has_another_name(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "keep" in given:
            raise ValueError("keep is called storage now; write storage: keep, or storage: temporary for keep: false")
        return given


class Collapsed(Section):
    """When a layer counts as collapsed."""

    pfc3: Annotated[Exact, Field(gt=0, le=1)] = Fraction(99, 100)
    """Training accuracy of the nearest class mean from which on a layer counts as collapsed."""


class CalibrationAttack(Section):
    """The attack whose examples the held-out defence is calibrated on."""

    attack: str
    keep: AnyKeep


class Detection(Section):
    """How adversarial images are told from clean ones."""

    layers: Literal["auto"] | Layers = "auto"
    """Layers of the score, numbered from 1; `auto` takes those before collapse."""
    weights: Weights = "equal"
    """Weights of those layers in eq. (3); a list sums to 1 and needs `layers` to be one."""
    false_positive_rates: Rates = [Fraction(5, 100), Fraction(1, 100)]
    """Shares of clean calibration images that further held-out thresholds may flag: `fpr-5` and `fpr-1`."""


class Recognition(Section):
    """How flagged images are recognised."""

    layers: Literal["auto"] | Layers = "auto"
    """Voting layers, numbered from 1; `auto` takes the `top` of greatest adversarial accuracy."""
    top: int = Field(3, ge=1)
    """How many layers `auto` takes: the paper's L', or all if the network has fewer than that default."""
    weights: Weights = "equal"
    """Weights of those layers in eq. (6); a list sums to 1 and needs `layers` to be one."""
    tie: Literal["last-layer", "summed-similarity"] = "last-layer"
    """Who wins an even vote: the last layer's class (the paper's sentence) or the class of greater similarity."""
    combinations: Literal["auto"] | Combined = "auto"
    """Layers whose subsets of two or more fill Table 3, or none; `auto` takes those of 2, 3 and 4 that there are."""


class Controls(Section):
    """Whether the adaptive attacks' failures mean robustness or masked gradients."""

    images: int = Field(200, ge=1)
    """How many of the adaptively attacked images, evenly spaced."""
    multiples: Annotated[list[Annotated[Exact, Field(ge=0)]], Field(min_length=1), AfterValidator(_ascending)] = [
        Fraction(0),
        Fraction(1, 4),
        Fraction(1, 2),
        Fraction(1),
        Fraction(2),
        Fraction(4),
        Fraction(8),
    ]
    """Radii, as multiples of the attack's eps; the greatest should leave no image right."""
    iterations: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_ascending)] = [
        10,
        20,
        40,
        80,
    ]
    """Growing budgets, each spent on what the ones before left standing."""
    restarts: int = Field(1, ge=0)
    """Further random starts of the greatest of them."""
    queries: int = Field(1000, ge=1)
    """Queries of the black-box attack (Square), for each image."""


class Adaptive(Section):
    """Attackers who know the whole defence: network, centroids, layers, threshold and vote."""

    attack: str
    """The AutoPGD attack whose norm, eps and images they take; its examples, made without knowledge of the defence,
    count in the worst case too."""
    images: int | None = Field(None, ge=1)
    """Attack only so many of its images, evenly spaced."""
    poolings: Annotated[list[Pooling], Field(min_length=1), AfterValidator(_distinct)] | None = None
    """Attack the defences of these poolings; null for all of `features.poolings`."""
    objectives: Annotated[list[Objective], Field(min_length=1), AfterValidator(_distinct)] = [
        "evade",
        "misvote",
        "match-features",
        "selective",
        "orthogonal",
    ]
    """What is maximised: see docs/method.md."""
    losses: Annotated[list[Literal["ce", "dlr"]], Field(min_length=1), AfterValidator(_distinct)] = ["ce", "dlr"]
    """Each objective is searched with each. `dlr` needs three classes, and four where it has a target: of fewer the
    default leaves it out."""
    targets: int = Field(3, ge=0)
    """So many of the most likely wrong classes are aimed at as well, where untargeted attacks failed; of few classes
    the default is all that are wrong."""
    restarts: int = Field(1, ge=1)
    """Random starts of the untargeted attacks; those after the first only where all failed."""
    only_survivors: bool = False
    """Whether each search attacks only what the ones before left standing: the same worst case in less time, but what
    the later ones can do by themselves is not told."""
    iterations: int = Field(20, ge=1)
    step: Positive | None = None
    """Initial step; 2 eps when left out."""
    precision: Precision = "float32"
    """`bfloat16` only searches: its results are judged in float32. `auto` takes it where it is fast."""
    controls: Controls | None = Controls()
    """null runs none; the verdict then says so."""


class Experiment(Section):
    """Everything an experiment depends on."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
    """Folder of the experiment under `results/`."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), AfterValidator(_distinct)] = [0]
    """Each seed trains and attacks every network once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; `auto` takes a GPU where there is one."""
    torch_threads: int = Field(1, ge=1)
    """Threads of each job that runs a network. Part of what decides the numbers: more threads sum in another order."""
    resident_mb: int = Field(1024, ge=0)
    """Training images up to this many MB are held in memory, or on the GPU; more are read batch by batch, at the same
    results."""
    shards: Shards = Shards()
    """How many jobs share an attack or an extraction; changes no result."""
    data: Annotated[Digits | Cifar | Folder | Arrays | Torchvision | Factory, Field(discriminator="source")]
    models: Annotated[dict[Name, AnyModel], Field(min_length=1)]
    training: dict[Name, Training] = {}
    """Every model is trained in each of these ways, but those that are given; needed where there are others."""
    attacks: Annotated[dict[Name, AnyAttack], Field(min_length=1)]
    calibration: CalibrationAttack | None = None
    """Needed unless `data.calibration` is 0."""
    features: Features = Features()
    collapse: Collapsed = Collapsed()
    detection: Detection = Detection()
    recognition: Recognition = Recognition()
    detectors: Annotated[list[Rival], AfterValidator(_distinct)] = []
    """Rival detectors that stand beside the paper's, on the same cached features; each is attacked itself where
    `adaptive` is given. They need calibration images."""
    adaptive: Adaptive | None = None
    """null attacks nothing but the networks."""

    @property
    def protocols(self) -> list[str]:
        """The protocols that the data allow: `held-out` needs calibration images."""
        return ["paper", "held-out"] if self.data.calibration > 0 else ["paper"]

    @model_validator(mode="after")
    def _parts_fit_together(self):
        self._check_training()
        self._check_calibration()
        self._check_layers()
        for section in ("detection", "recognition"):
            self._check_weights(section, getattr(self, section))
        self._check_adaptive()
        return self

    @property
    def adaptive_poolings(self) -> list[str]:
        """The poolings whose defences are attacked, sorted; none without `adaptive`."""
        return [] if self.adaptive is None else sorted(self.adaptive.poolings or self.features.poolings)

    @property
    def calibrated(self) -> list[str]:
        """The attacks with examples of calibration images: all but those of files that have only others."""
        return [
            name for name, attack in self.attacks.items() if attack.method != "files" or attack.calibration is not None
        ]

    @property
    def rivals_are_tested(self) -> bool:
        """Whether detectors stand beside one another: where rivals are named, or are attacked with the defence."""
        return bool(self.detectors) or self.adaptive is not None

    @property
    def named_layers(self) -> dict[str, int]:
        """How many layers a network needs, by the key that says so."""
        named = {
            "detection.layers": self.detection.layers,
            "recognition.layers": self.recognition.layers,
            "recognition.combinations": self.recognition.combinations,
        }
        found = {key: max(layers) for key, layers in named.items() if layers != "auto" and layers}
        if "top" in self.recognition.model_fields_set:
            found["recognition.top"] = self.recognition.top
        return found

    def given(self, model: str) -> GivenNetwork | None:
        """Return the description of a model that is given, None of one that is trained here."""
        found = self.models[model]
        return found if isinstance(found, GivenNetwork) else None

    def _check_training(self) -> None:
        trained = [name for name in self.models if self.given(name) is None]
        if trained and not self.training:
            raise ValueError(f"training: missing; say how models.{trained[0]} is trained")
        if self.training and not trained:
            raise ValueError("training: all models are given; leave it out")
        if GIVEN in self.training and len(trained) < len(self.models):
            raise ValueError(f"training.{GIVEN}: that is what the models that are given are called; name it otherwise")

    def _check_calibration(self) -> None:
        if self.data.calibration == 0:
            return
        if self.calibration is None:
            raise ValueError(
                "calibration: missing; name the attack and keep to calibrate on, or set data.calibration: 0"
            )
        name, keep = self.calibration.attack, self.calibration.keep
        if name not in self.attacks:
            raise ValueError(f"calibration.attack: '{name}' is not one of attacks ({', '.join(self.attacks)})")
        if keep not in self.attacks[name].keep:
            raise ValueError(f"calibration.keep: '{keep}' is not one of attacks.{name}.keep")
        if name not in self.calibrated:
            raise ValueError(
                f"calibration.attack: attacks.{name} has no calibration file, which would hold adversarial examples of "
                "calibration images"
            )

    def _check_adaptive(self) -> None:
        for key, given in (("detectors", bool(self.detectors)), ("adaptive", self.adaptive is not None)):
            if given and self.data.calibration == 0:
                raise ValueError(f"{key}: needs calibration images, because only a held-out defence can be judged")
        if self.adaptive is None:
            return
        name = self.adaptive.attack
        if name not in self.attacks:
            raise ValueError(f"adaptive.attack: '{name}' is not one of attacks ({', '.join(self.attacks)})")
        if self.attacks[name].method != "apgd":
            raise ValueError(f"adaptive.attack: '{name}' is no AutoPGD attack")
        if problem := self.attacks[name].too_far(self.adaptive.step):
            raise ValueError(f"adaptive.step: {problem}")
        if name in (*get_args(Objective), "misclassify"):
            raise ValueError(f"adaptive.attack: '{name}' is what an adaptive attack is called; call it something else")
        missing = sorted(set(self.adaptive.poolings or []) - set(self.features.poolings))
        if missing:
            raise ValueError(f"adaptive.poolings: '{missing[0]}' is not one of features.poolings")

    def _check_layers(self) -> None:
        for name, model in self.models.items():
            if not self.given(name):  # whose layers are not known yet
                for problem in missing_layers(self.named_layers, layer_count(model.architecture), f"models.{name}"):
                    raise ValueError(problem)

    def _check_weights(self, section: str, settings: Detection | Recognition) -> None:
        if settings.weights == "equal":
            return
        if settings.layers == "auto" or len(settings.weights) != len(settings.layers):
            raise ValueError(f"{section}.weights: a list needs {section}.layers to be a list of the same length")
        if sum(settings.weights) != 1 or min(settings.weights) < 0:
            raise ValueError(f"{section}.weights: should be at least 0 and sum to 1, not to {sum(settings.weights)}")


def read_experiment(config: Mapping[str, Any], source: str = "the configuration") -> Experiment:
    """Check a merged configuration and return it typed.

    Raises
    ------
    FeaturePathsError
        With one line for each problem: the key, what is wrong with it, and what would be right.
    """
    try:
        return Experiment.model_validate(config)
    except ValidationError as error:
        lines = [f"  {_describe(problem, config)}" for problem in error.errors()]
        raise FeaturePathsError("\n".join([f"{source} is not valid:", *dict.fromkeys(lines)])) from None


USE = "write it into a file for --configfile"


def _describe(problem: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    # a union's alternatives stand in the location too: keep what is a key or an index of the configuration
    location, here = [], config
    # the one of the data may be called like a key
    parts = problem["loc"][:1] + problem["loc"][2:] if problem["loc"][:1] == ("data",) else problem["loc"]
    for part in parts:
        if (isinstance(here, Mapping) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
            location.append(str(part))
        elif problem["type"] == "missing" and part == parts[-1]:
            location.append(str(part))
    key = ".".join(location)
    given = problem["input"]
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(problem["loc"])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys are {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    message = re.sub(r" after validation, not \d+", "", problem["msg"].removeprefix("Value error, "))
    message = message[:1].lower() + message[1:]
    if problem["type"] == "missing":
        return f"{key}: missing"
    if (
        isinstance(given, str)
        and problem["type"].endswith("_type")
        and re.match(r"\s*([\[{]|-?\d|true|false)", given, re.I)
    ):
        return (
            f"{key}: {message}, not the text '{given}'; what stands in a list or map of --config arrives as text: {USE}"
        )
    if problem["type"] == "value_error" and not key:
        return message
    return f"{key}: {message}" + ("" if problem["type"] == "value_error" else f", not {given!r}")


def _keys_beside(location: tuple) -> list[str]:
    """Return the keys that are known where an unknown one was found."""
    schema = full = Experiment.model_json_schema()
    for part in location[:-1]:
        schema = _resolve(schema, full)
        branches = [schema, *(_resolve(branch, full) for branch in schema.get("anyOf", []) + schema.get("oneOf", []))]
        for branch in branches:
            if part in branch.get("properties", {}):
                schema = branch["properties"][part]
            elif "patternProperties" in branch:
                (schema,) = branch["patternProperties"].values()
            elif part in (branch.get("title"), branch.get("properties", {}).get("source", {}).get("const")):
                schema = branch
    schema = _resolve(schema, full)
    found = [schema, *(_resolve(branch, full) for branch in schema.get("anyOf", []))]
    return sorted({key for branch in found for key in branch.get("properties", {})})


def _resolve(schema: Mapping[str, Any], full: Mapping[str, Any]) -> Mapping[str, Any]:
    return full["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


if __name__ == "__main__":
    print(json.dumps(Experiment.model_json_schema(), indent=2))
