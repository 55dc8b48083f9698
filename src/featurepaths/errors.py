"""The one exception that a user is meant to read."""


class FeaturePathsError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do."""
