"""The proof book proves every theorem, and nothing else.

A proof is worth what it refuses: each mutation below changes one exponent, sign, index or factor,
in a record or in the engine that the proofs use, and the proof must fail.
"""

import importlib
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from sympy import Integer, MatAdd, MatMul, Transpose

from derivations import __main__ as book
from derivations import balanced_law as balanced_proof
from derivations import conservation as conservation_proof
from flowsim.symbolic import CertificationError, balance, chains, differential
from flowsim.symbolic.nodes import Layer, MatrixSum, PSDPower, end_to_end, gradient
from flowsim.symbolic.rewriting import Rule
from flowsim.theory import THEOREMS, balanced_law, conservation
from flowsim.theory.deep_linear import DECAY, INDEX

ROOT = Path(__file__).parents[2]
j = INDEX


def proofs():
    names = [p.stem for p in (ROOT / "derivations").glob("*.py") if not p.stem.startswith("_")]
    return {name: importlib.import_module(f"derivations.{name}") for name in names}


def test_theorems_and_proofs_are_bound_one_to_one():
    named = [PurePosixPath(theorem.proof).stem for theorem in THEOREMS]
    assert len(set(named)) == len(named)
    assert set(named) == set(proofs())
    for theorem in THEOREMS:
        assert proofs()[PurePosixPath(theorem.proof).stem].THEOREM is theorem


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_proofs_prove(theorem):
    page = proofs()[PurePosixPath(theorem.proof).stem].prove()
    assert len(page.steps) >= 6


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_proofs_run_as_scripts(theorem, capsys):
    runpy.run_path(str(ROOT / theorem.proof), run_name="__main__")
    assert f"proved: {theorem.title}" in capsys.readouterr().out


def test_a_proof_runs_in_a_process_of_its_own():
    run = subprocess.run(
        [sys.executable, conservation.proof],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"proved: {conservation.title}" in run.stdout


def test_state_of_the_book(capsys):
    assert book.main() == 0
    assert f"{len(THEOREMS)} of {len(THEOREMS)} theorems proved" in capsys.readouterr().out


def test_index_lists_every_theorem():
    table = (ROOT / "derivations" / "README.md").read_text(encoding="utf-8")
    for theorem in THEOREMS:
        assert f"| {theorem.name} |" in table
        assert PurePosixPath(theorem.proof).name in table


def test_the_book_reports_a_theorem_that_does_not_hold(monkeypatch, capsys):
    false = replace(conservation, statement=lambda N: MatMul(2, conservation.statement(N)))
    monkeypatch.setattr(book, "THEOREMS", (false, balanced_law))
    assert book.main() == 1
    shown = capsys.readouterr().out
    assert "conservation: NOT PROVED" in shown
    assert "1 of 2 theorems proved" in shown


# -- mutations of the records ----------------------------------------------------------------------


def law(N, *, left=None, right=None, sign=-1, upper=None, decay=None):
    """The balanced law as the record states it, one thing changed."""
    W, G = end_to_end(N), gradient(N)
    A, B = MatMul(W, Transpose(W)), MatMul(Transpose(W), W)
    a = (j - 1) / N if left is None else left(N)
    b = (N - j) / N if right is None else right(N)
    term = MatMul(PSDPower(A, a), G, PSDPower(B, b))
    total = MatrixSum(term, j, 1, N if upper is None else upper(N))
    rate = DECAY * N if decay is None else decay(N)
    return MatAdd(MatMul(-rate, W), MatMul(Integer(sign), total))


MUTATED_LAWS = {
    "exponent j instead of j - 1": {"left": lambda N: j / N},
    "exponent over N + 1": {"left": lambda N: (j - 1) / (N + 1)},
    "square instead of root": {"right": lambda N: 2 * (N - j) / N},
    "exponent N - j + 1": {"right": lambda N: (N - j + 1) / N},
    "ascent": {"sign": 1},
    "one layer too few": {"upper": lambda N: N - 1},
    "one layer too many": {"upper": lambda N: N + 1},
    "decay without the factor N": {"decay": lambda N: DECAY},
    "decay with N - 1": {"decay": lambda N: DECAY * (N - 1)},
    "growth": {"decay": lambda N: -DECAY * N},
}


def test_the_unchanged_law_is_proved():
    balanced_proof.prove(replace(balanced_law, statement=law))


@pytest.mark.parametrize("change", MUTATED_LAWS.values(), ids=MUTATED_LAWS)
def test_a_changed_law_is_refused(change):
    mutant = replace(balanced_law, statement=lambda N: law(N, **change))
    with pytest.raises(CertificationError, match="residual"):
        balanced_proof.prove(mutant)


def defect(rate=-2 * DECAY, sign=-1, shift=0):
    upper, lower = Layer(j + 1 + shift), Layer(j + shift)
    return MatMul(
        rate, MatAdd(MatMul(Transpose(upper), upper), MatMul(sign, lower, Transpose(lower)))
    )


def test_the_unchanged_conservation_law_is_proved():
    conservation_proof.prove(replace(conservation, statement=lambda N: defect()))


@pytest.mark.parametrize(
    "change",
    [{"rate": -DECAY}, {"rate": 2 * DECAY}, {"rate": -4 * DECAY}, {"sign": 1}, {"shift": 1}],
)
def test_a_changed_conservation_law_is_refused(change):
    mutant = replace(conservation, statement=lambda N: defect(**change))
    with pytest.raises(CertificationError, match="residual"):
        conservation_proof.prove(mutant)


# -- mutations of the engine -----------------------------------------------------------------------


def fails(proof):
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def test_balance_with_a_wrong_sign(monkeypatch):
    right = balance.balance_rule

    def wrong(i, depth, *, towards):
        rule = right(i, depth, towards=towards)
        return Rule(rule.lhs, -rule.rhs)

    monkeypatch.setattr(balance, "balance_rule", wrong)
    fails(balanced_proof)


def test_gram_matrices_folded_into_a_wrong_power(monkeypatch):
    def wrong(depth, *, end):
        matrix = balance.gram(depth, end=end)
        return Rule.of(matrix, PSDPower(matrix, 2))

    monkeypatch.setattr(balance, "fold_rule", wrong)
    fails(balanced_proof)


def test_a_product_rule_that_forgets_the_last_factor(monkeypatch):
    right = differential.product_rule
    monkeypatch.setattr(differential, "product_rule", lambda f, d: right(f, [*d[:-1], d[-1] * 0]))
    fails(conservation_proof)


def test_a_differential_of_chains_with_a_layer_missing(monkeypatch):
    right = chains.chain_differential
    monkeypatch.setattr(chains, "chain_differential", lambda b, a, d: right(b, a + 1, d))
    fails(balanced_proof)


@pytest.mark.parametrize("proof", [conservation_proof, balanced_proof])
def test_a_gradient_of_the_wrong_sign(monkeypatch, proof):
    right = differential.read_gradient
    monkeypatch.setattr(proof, "read_gradient", lambda d, X, G: -right(d, X, G))
    fails(proof)


def test_powers_that_multiply_by_multiplying_exponents(monkeypatch):
    def wrong(self, right):
        same = isinstance(right, PSDPower) and right.base == self.base
        return PSDPower(self.base, self.exponent * right.exponent) if same else None

    monkeypatch.setattr(PSDPower, "joined", wrong)
    fails(balanced_proof)
