from featurepaths.defense import FeaturePathDefense as FeaturePathDefense
from featurepaths.errors import FeaturePathsError as FeaturePathsError
from featurepaths.networks.layers import find_layers as find_layers

__all__ = ["FeaturePathDefense", "FeaturePathsError", "find_layers"]
