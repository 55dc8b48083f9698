"""One browser for all tests of pages."""

import os

import pytest


@pytest.fixture(scope="session")
def browser():
    from tests.pages.browser import chromium, why_not

    if reason := why_not():
        assert "FEATUREPATHS_CHROMIUM" not in os.environ, reason
        pytest.skip(reason)
    with chromium() as started:
        yield started
