"""Configuration of data sets."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from featurepaths.data.torchvision import TORCHVISION
from featurepaths.experiment.config.types import Arguments, Exact, Function, Section, distinct, meant


def _known_dataset(name: Any) -> Any:
    if str(name) not in TORCHVISION:
        more = meant(name, TORCHVISION) or f"; known are {', '.join(TORCHVISION)}"
        raise ValueError(f"'{name}' is no data set of torchvision with a training and a test part{more}")
    return name


class Splits(Section):
    """How images are assigned to splits."""

    calibration: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(1, 10)
    """Share of the training images that form the calibration split; with 0 only the `paper` protocol is available."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the assignment of images to splits."""
    not_in_digest: ClassVar = ("root", "download", "title", "reference_dataset")


class OwnImages(Splits):
    """Images of the user's."""

    reference_dataset: Literal["cifar10"] | None = None
    """Data set whose published numbers appear next to the results."""


class Digits(Splits):
    """scikit-learn's handwritten digits: 1,797 images that the library includes."""

    source: Literal["digits"]
    size: int = Field(32, ge=32, le=256, multiple_of=32)
    """Height and width in pixels to which the 8x8 images are enlarged."""
    test: Annotated[Exact, Field(gt=0, lt=1)] = Fraction(1, 5)
    """Share of the images that are test images."""


class Cifar(Splits):
    """CIFAR-10 or CIFAR-100, read by torchvision."""

    source: Literal["cifar10", "cifar100"]
    root: str
    """Folder that contains (or, with `download`, will contain) `cifar-10-batches-py` or `cifar-100-python`."""
    download: bool = False
    """Whether torchvision may download the files."""


class Folder(OwnImages):
    """PNG and JPEG files in `train/<class>/` and `test/<class>/`, or `val/<class>/` where there is no `test`."""

    source: Literal["folder"]
    root: str
    """Folder that contains `train` and `test` (or `val`)."""
    size: int | None = Field(None, ge=32)
    """Height and width to which the central square of each image is resized; null requires images of one size."""
    class_names: Annotated[list[str], Field(min_length=2), AfterValidator(distinct)] | None = None
    """The folders of the classes in the order of the network's classes; null for their alphabetical order."""
    title: str = "image folder"
    """Description of the images, stored with them; changes no number."""


class ArrayKeys(Section):
    """Names of the arrays in their files, where they differ from these names and from `images` and `labels`."""

    train_images: str | None = None
    train_labels: str | None = None
    test_images: str | None = None
    test_labels: str | None = None


class ArrayPair(Section):
    """Images and labels in separate files, such as npy."""

    images: str
    """File of the images."""
    labels: str
    """File of their labels."""
    severity: int | None = Field(None, ge=1, le=5)
    """Severity of CIFAR-10-C, the fifth of the rows that is taken; null for all rows."""


ArrayFiles = Annotated[
    Annotated[str, Tag("file")] | Annotated[ArrayPair, Tag("ArrayPair")],
    Discriminator(lambda files: "ArrayPair" if isinstance(files, Mapping | ArrayPair) else "file"),
]
FirstLabel = Literal[0, 1]


class Arrays(OwnImages):
    """Images and labels in files: NumPy's npz and npy, HDF5, MATLAB 7.3, or PyTorch's."""

    not_in_digest: ClassVar = (*OwnImages.not_in_digest, "train", "test")
    source: Literal["arrays"]
    train: ArrayFiles
    """File of the training images (uint8, or floats in [0, 1] that are multiples of 1/255) and their labels (whole
    numbers from 0), or one file each."""
    test: ArrayFiles
    """The same for the test images; the same file if it holds `train_images`, `train_labels`, `test_images` and
    `test_labels`."""
    keys: ArrayKeys = ArrayKeys()
    layout: Literal["NHWC", "NCHW"] | None = None
    """Order of the axes; null selects the axis of length 1 or 3 as the channels. Images without channels are grey."""
    size: int | None = Field(None, ge=32)
    """Height and width to which the central square of each image is resized; null keeps their size."""
    class_names: Annotated[list[str], Field(min_length=2), AfterValidator(distinct)] | None = None
    """Names of the classes in the order of their labels; null uses their numbers."""
    first_label: FirstLabel = 0
    """Label of the first class; 1 is subtracted from all labels."""
    title: str = "arrays"
    """Description of the images, stored with them; changes no number."""

    def options(self) -> list:
        """Return the arguments of `featurepaths.data.array_files.open_parts`."""
        files = self.model_dump(include={"train", "test"})
        return [files, self.keys.model_dump(), self.layout, self.size, self.class_names, self.first_label]


class Parquet(OwnImages):
    """Parquet files of Hugging Face, with images as structs of `bytes` and `path`."""

    not_in_digest: ClassVar = (*OwnImages.not_in_digest, "train", "test")
    source: Literal["parquet"]
    train: str
    """File of the training images, or a pattern of files such as `data/train-*.parquet`."""
    test: str
    """File of the test images, or a pattern of files."""
    image: str | None = None
    """Column of the images; null selects the only one that the files declare as images."""
    label: str | None = None
    """Column of the labels; null selects the only one that the files declare as class labels."""
    channels: Literal[1, 3] = 3
    """Colour channels of all images; grey images become RGB if there are 3, and coloured ones are refused if 1."""
    size: int | None = Field(None, ge=32)
    """Height and width to which the central square of each image is resized; null requires images of one size."""
    class_names: Annotated[list[str], Field(min_length=2), AfterValidator(distinct)] | None = None
    """Names of the classes 0, 1, ...; null uses those in the files, or numbers."""
    title: str = "parquet"
    """Description of the images, stored with them; changes no number."""

    def options(self) -> list:
        """Return the arguments of `featurepaths.data.parquet.open_parquet`."""
        files = self.model_dump(include={"train", "test"})
        return [files, self.image, self.label, self.size, self.channels, self.class_names]


class Torchvision(Splits):
    """A data set that torchvision reads. Changes of its files are not detected."""

    source: Literal["torchvision"]
    dataset: Annotated[Literal[tuple(TORCHVISION)], BeforeValidator(_known_dataset)]
    """Name of its class in `torchvision.datasets`."""
    root: Annotated[str | None, Field(validate_default=True)] = None
    """Folder that contains (or, with `download`, will contain) its files."""
    download: bool = False
    """Whether torchvision may download the files."""
    arguments: Arguments = {}
    """Further arguments of the class, such as `split: letters` for EMNIST."""
    train: Arguments = {}
    """Arguments for the training images only, such as `split: trainval`."""
    test: Arguments = {}
    """Arguments for the test images only."""
    size: int | None = Field(None, ge=32)
    """Height and width to which the central square of each image is resized; null requires images of one size."""

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
                f"the training and the test images would be the same, those of {train}; give train and test "
                "different arguments"
            )
        return self


class Factory(OwnImages):
    """Images that your own function returns."""

    source: Literal["factory"]
    factory: Function
    """The function, as `package.module:function`, in the working directory or on Python's path. It returns
    (train, test, class_names). See docs/own-data.md."""
    arguments: Arguments = {}
    """Its keyword arguments."""
    layout: Literal["NHWC", "NCHW"] | None = None
    """Order of the axes of arrays; null selects the axis of length 1 or 3 as the channels."""
    first_label: FirstLabel = 0
    """Label of the first class; 1 is subtracted from all labels."""
    size: int | None = Field(None, ge=32)
    """Height and width to which the central square of each image is resized; null requires images of one size."""


AnyData = Annotated[Digits | Cifar | Folder | Arrays | Parquet | Torchvision | Factory, Field(discriminator="source")]
