"""`python -m featurepaths`."""

from featurepaths.cli import main

main()
