from featurepaths.defense import FeaturePathDefense as FeaturePathDefense
from featurepaths.errors import FeaturePathsError as FeaturePathsError

__all__ = ["FeaturePathDefense", "FeaturePathsError"]
