import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurepaths.attacks.norms import NORMS, project, random_start, size, steepest


@pytest.mark.parametrize("norm", NORMS)
@given(seed=st.integers(0, 10_000), eps=st.floats(1e-3, 2.0), spread=st.floats(0.0, 3.0))
def test_project_returns_point_in_ball_and_box_and_keeps_inner_points(norm, seed, eps, spread):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    moved = clean + spread * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    projected = project(moved, clean, eps, norm)
    assert (projected >= 0).all()
    assert (projected <= 1).all()
    assert (size(projected - clean, norm) <= eps * (1 + 1e-9)).all()
    torch.testing.assert_close(project(projected, clean, eps, norm), projected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_maximizes_linear_function(norm):
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(4, 12, generator=generator)
    best = (gradient * steepest(gradient, norm)).sum(dim=1)
    # the maximum over the unit ball is the dual norm: l1 for linf, l2 for l2
    torch.testing.assert_close(best, gradient.norm(p=1 if norm == "linf" else 2, dim=1))
    others = torch.randn(1000, 1, 12, generator=generator)
    others = others / torch.linalg.vector_norm(others, ord=float("inf") if norm == "linf" else 2, dim=2, keepdim=True)
    assert ((others * gradient).sum(dim=2) <= best + 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_of_zero_gradient_is_zero(norm):
    assert (steepest(torch.zeros(2, 3, 4, 4), norm) == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_random_start_depends_only_on_seed_and_index(norm):
    clean = torch.full((6, 3, 8, 8), 0.5)
    indices = np.array([3, 1, 4, 10, 5, 9])
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    starts = random_start(clean, indices, 0.1, norm, seed=7)
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    order = [5, 0, 3]
    assert torch.equal(random_start(clean[order], indices[order], 0.1, norm, seed=7), starts[order])
    assert not torch.equal(random_start(clean, indices, 0.1, norm, seed=8), starts)
    assert len({start.numpy().tobytes() for start in starts}) == 6
    torch.testing.assert_close(size(starts - clean, norm), torch.full((6,), 0.1))
