"""Norms of tensor components against factors that move."""

import numpy as np
import pytest
from sympy import Symbol

from flowsim._errors import InputError
from flowsim.problems import CP, HierarchicalTucker
from flowsim.theory import tensors as law


def descend(par, factors, loss_gradient):
    """Velocities of the factors, the map differentiated by central differences."""
    G, h = loss_gradient(par(factors)), 1e-6
    velocities = []
    for j, A in enumerate(factors):
        V = np.zeros_like(A)
        for index in np.ndindex(A.shape):
            E = np.zeros_like(A)
            E[index] = h
            ahead = par([*factors[:j], A + E, *factors[j + 1 :]])
            behind = par([*factors[:j], A - E, *factors[j + 1 :]])
            V[index] = -np.sum(G * (ahead - behind)) / (2 * h)
        velocities.append(V)
    return G, velocities


def loss(dims, seed):
    rng = np.random.default_rng(seed)
    target, weight = rng.standard_normal(dims), rng.uniform(0.5, 1.5, dims)
    return lambda W: weight * (W - target) ** 3


def rate_of_norm(vectors, speeds):
    """d/dt of the product of norms, by differences along the velocities."""
    h = 1e-5 / max(np.linalg.norm(d) for d in speeds)
    ahead, behind = (
        np.prod([np.linalg.norm(w + s * h * d) for w, d in zip(vectors, speeds, strict=True)])
        for s in (1, -1)
    )
    return (ahead - behind) / (2 * h)


def stated(norms, force, sigma):
    numbers = {law.NORMS[n + 1]: a for n, a in enumerate(norms)}
    numbers |= {law.FORCE: force, law.COMPONENT: sigma}
    return float(law.cp_component_norms.statement(len(norms)).subs(numbers))


@pytest.mark.parametrize("dims", [(3, 4), (2, 3, 4), (2, 3, 2, 2)])
def test_cp_components(dims):
    par, rng = CP(dims, rank=2), np.random.default_rng(len(dims))
    factors = [rng.standard_normal(shape) for shape in par.shapes]
    G, velocities = descend(par, factors, loss(dims, 1))
    found = law.cp_components(factors, G)
    for r in range(2):
        vectors, speeds = ([A[:, r] for A in X] for X in (factors, velocities))
        moved = rate_of_norm(vectors, speeds)
        scale = np.abs(found.rates).max()
        assert abs(found.rates[r] - moved) <= 1e-7 * scale
        norms = [np.linalg.norm(w) for w in vectors]
        assert abs(found.norms[r] / np.prod(norms) - 1) <= 1e-14
        assert abs(stated(norms, found.forces[r], found.norms[r]) - found.rates[r]) <= 1e-12 * scale
        # Differences of squared norms are conserved.
        growth = [2 * w @ d for w, d in zip(vectors, speeds, strict=True)]
        assert np.abs(np.array(growth) - 2 * found.norms[r] * found.forces[r]).max() <= 1e-7 * scale


def test_equal_norms():
    par, rng = CP((3, 2, 4), rank=2), np.random.default_rng(5)
    factors = [rng.standard_normal(shape) for shape in par.shapes]
    factors = [A / np.linalg.norm(A, axis=0) * 1.3 for A in factors]
    G, _ = descend(par, factors, loss((3, 2, 4), 2))
    found = law.cp_components(factors, G)
    for sigma, force, rate in zip(*found, strict=True):
        balanced = law.cp_component_norms.statement(3, balanced=True)
        value = float(balanced.subs({law.COMPONENT: sigma, law.FORCE: force}))
        assert abs(value / rate - 1) <= 1e-12


TREES = {
    "binary, below the root": (((2, 3), (2, 2)), "B1", ("U1", "U2")),
    "binary, at the root": (((2, 3), (2, 2)), "B3", ("B1", "B2")),
    "three children": (((2, 2, 3), 2), "B1", ("U1", "U2", "U3")),
}


@pytest.mark.parametrize("case", TREES)
def test_local_components(case):
    tree, node, children = TREES[case]
    par, rng = HierarchicalTucker(tree, rank=2), np.random.default_rng(6)
    factors = [rng.standard_normal(shape) for shape in par.shapes]
    G, velocities = descend(par, factors, loss(par.dims, 3))
    place = {name: j for j, name in enumerate(par.names)}
    found = law.hierarchical_components(par, factors, G, node=node)
    for r in range(2):

        def local(X, r=r):
            return [X[place[node]][r], *(X[place[child]][:, r] for child in children)]

        vectors, speeds = local(factors), local(velocities)
        norms = [np.linalg.norm(w) for w in vectors]
        sigma = np.prod(norms)
        alone = [A.copy() for A in factors]
        alone[place[node]][1 - r] = 0.0
        force = -np.sum(G * par(alone)) / sigma
        moved = rate_of_norm(vectors, speeds)
        assert abs(found.rates[r] - moved) <= 1e-6 * abs(moved)
        assert abs(found.norms[r] / sigma - 1) <= 1e-14
        assert abs(found.forces[r] / force - 1) <= 1e-12
        numbers = {law.NORMS[n + 1]: a for n, a in enumerate(norms)}
        numbers |= {law.FORCE: force, law.COMPONENT: sigma}
        value = law.hierarchical_component_norms.statement(len(norms)).subs(numbers)
        assert abs(float(value) / law.component_rate(norms, force) - 1) <= 1e-12
        growth = [2 * w @ d for w, d in zip(vectors, speeds, strict=True)]
        assert np.abs(np.array(growth) - 2 * sigma * force).max() <= 1e-6 * abs(sigma * force)


def test_records_of_symbolic_order():
    N = Symbol("N", integer=True, positive=True)
    rate = law.cp_component_norms.statement(N)
    assert rate.subs(N, 4).doit().expand() == law.cp_component_norms.statement(4).expand()


def test_vectors_that_are_zero():
    """A zero vector feels the others; two of them feel nothing."""
    assert law.component_rate([0.0, 2.0, 3.0], 0.5) == 18.0
    assert law.component_rate([0.0, 0.0, 3.0], 0.5) == 0.0


def test_condition_on_the_start():
    condition = law.cp_component_norms.conditions[1]
    good, bad = np.ones((2, 2)), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert condition.failure(None, (good, good)) is None
    assert condition.failure(None, (good, bad)).startswith("Vector 2 of component 2 is 0")


def test_wrong_input_of_a_hierarchical_network():
    par = HierarchicalTucker((2, 2), rank=2)
    factors = [np.ones(shape) for shape in par.shapes]
    with pytest.raises(InputError, match="node is 'U1', which is none of 'B1'"):
        law.hierarchical_components(par, factors, np.ones((2, 2)), node="U1")
    with pytest.raises(InputError, match="gradient has shape"):
        law.hierarchical_components(par, factors, np.ones(4), node="B1")
    factors[0] = np.zeros((2, 2))
    with pytest.raises(InputError, match="without direction"):
        law.hierarchical_components(par, factors, np.ones((2, 2)), node="B1")


def test_wrong_input():
    with pytest.raises(InputError, match="one rank is needed"):
        law.cp_components([np.ones((2, 2)), np.ones((2, 3))], np.ones((2, 2)))
    with pytest.raises(InputError, match=r"the factors call for \(2, 3\)"):
        law.cp_components([np.ones((2, 2)), np.ones((3, 2))], np.ones((2, 2)))
    with pytest.raises(InputError, match=r"factors\[1\]\[:, 0\] is 0"):
        law.cp_components([np.ones((2, 1)), np.zeros((3, 1))], np.ones((2, 3)))
    with pytest.raises(InputError, match="without negative"):
        law.component_rate([-1.0, 1.0], 0.5)
    with pytest.raises(InputError, match="force has shape"):
        law.component_rate([1.0, 1.0], [0.5])
