"""The report of a comparison shows its laws, losses, gap, curvature and provenance."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from tests.reporting.pages import Reader, assert_stands_alone


@pytest.fixture(scope="module")
def comparison():
    net = fs.DeepLinear((2, 1, 1))
    problem = fs.Problem(fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2), net)
    return fs.compare(problem, net.balanced([0.3, 0.1]), learning_rate=1e-3, steps=500)


def test_the_report_holds_what_a_comparison_has(comparison, tmp_path):
    comparison.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = assert_stands_alone(text)
    words = "".join(page.text)
    assert page.tags.count("svg") == 4
    assert page.tags.count("math") > 4
    for told in ("theory predicts", "Gap in the parameters", "versions", "numpy", "tolerances"):
        assert told in words or told in text
    assert "After 500 steps at η = 0.001" in words


def test_the_report_marks_where_the_flow_stops_being_a_model(tmp_path):
    # The curvature is 0.6 everywhere, and eta times it 2.4.
    problem = fs.Problem.from_function(lambda w: jnp.sum(0.3 * w**2), np.zeros(1))
    unstable = fs.compare(problem, np.array([1.0]), learning_rate=4.0, steps=5)
    unstable.report(tmp_path / "report.html")
    words = "".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    assert "η λmax exceeds 2" in words
    assert "Nothing symbolic is known" in words
