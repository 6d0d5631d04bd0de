"""The gas-ethanol study: its options, its published curves, and a reduced run of it all."""

from types import SimpleNamespace

import numpy as np
import pytest

from flowsim._errors import DatasetError, InputError
from flowsim._result import Reason, Result
from flowsim.problems import DeepLinear
from flowsim.studies import STUDIES
from flowsim.studies.gas_ethanol.edge import outer_gain
from flowsim.studies.gas_ethanol.findings import _crossing
from flowsim.studies.gas_ethanol.published import load_published
from flowsim.studies.gas_ethanol.runs import Run
from flowsim.studies.gas_ethanol.settings import (
    DESCENT_RATE,
    OPTIMUM,
    PUBLISHED_RATE,
    TABLED,
    Settings,
    check_settings,
    flow_iterations,
    recorded_iterations,
)
from flowsim.trajectory import Trajectory
from flowsim.trajectory.storage import read_netcdf
from tests.reporting.pages import assert_stands_alone

# --- options --------------------------------------------------------------------------------------


def test_options_as_typed_become_settings():
    settings = check_settings(p="4", depth="3, 1", steps=100)
    assert settings.exponents == (4,)
    assert settings.depths == (1, 3)
    assert settings.descent_steps(4) == 100
    assert not settings.edge
    assert [b.name for b in settings.baselines] == ["AdaGrad", "AdaDelta", "Adam", "Adam"]


def test_by_default_everything_runs():
    settings = check_settings(p=None, depth=None, steps=None)
    assert settings.edge
    assert settings.descent_steps(2) == 1_000_000
    assert settings.descent_steps(4) == 20_000
    assert len(settings.baselines) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"p": "3"}, "--p is '3': this study has 2, 4"),
        ({"p": "2.0"}, "--p is '2.0'"),
        ({"p": ""}, "--p is ''"),
        ({"depth": "1,5"}, "--depth is '1,5': this study has 1, 2, 3"),
        ({"depth": "1;2"}, "--depth is '1;2'"),
        ({"steps": 3}, "--steps is 3, where a whole number of at least 10"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    given = {"p": None, "depth": None, "steps": None, **options}
    with pytest.raises(InputError, match=message):
        check_settings(**given)


def test_flows_recorded_at_different_iterations_are_compared_at_common_ones():
    """At 10^6 steps of 7e-5 depth 3 ends at a tabled iteration, depth 1 between two."""

    def flow(N, also, decay):
        iterations = flow_iterations(also)
        loss = OPTIMUM[4] + np.exp(-decay * iterations)
        record = Trajectory(
            iterations, iterations, loss, None, {}, Result(Reason.completed), settings={}
        )
        return Run("", "gradient flow", 4, N, 1.0, record)

    runs = {1: flow(1, 217_391.3, 1e-6), 2: flow(2, 5.0, 2e-6), 3: flow(3, 400_000.0, 3e-6)}
    assert len(runs[1].iterations) != len(runs[3].iterations)
    result = SimpleNamespace(find=lambda p, N, kind: runs[N])
    finding = _crossing(result)
    assert finding is not None
    assert finding.agrees is False  # they cross at once


def test_the_start_is_of_the_stated_size_and_seed():
    start = Settings().start(128)
    assert np.isclose(np.linalg.norm(start), 0.01, rtol=1e-14)
    assert np.array_equal(start, Settings().start(128))
    assert not np.array_equal(start, Settings(seed=1).start(128))


def test_tabled_iterations_are_recorded_exactly():
    assert set(TABLED) <= set(flow_iterations(12345.0))
    assert 12345.0 in flow_iterations(12345.0)
    recorded = recorded_iterations(1_000_000)
    assert set(TABLED) <= set(recorded.tolist())
    assert recorded[0] == 0
    assert recorded[-1] == 1_000_000
    assert (np.diff(recorded) > 0).all()
    assert recorded_iterations(100)[-1] == 100


def test_descent_takes_no_larger_steps_than_the_published():
    assert all(DESCENT_RATE[key] <= PUBLISHED_RATE[key] for key in PUBLISHED_RATE)


# --- published curves -----------------------------------------------------------------------------


def test_published_curves_are_read_with_their_checksum():
    published = load_published()
    assert published.at("L4_best", "3", 9e5) == 0.00847
    assert np.isnan(published.at("L4_best", "3", 123))
    assert published.curve("no", "such")[0].size == 0
    between = published.between("L4_best", "1", 1.5e5)
    assert 0.103 < between < 0.142
    assert np.isnan(published.between("L4_best", "1", 1e7))


def test_a_changed_file_of_published_curves_is_refused(tmp_path, monkeypatch):
    (tmp_path / "acc2018_fig_digitised.csv").write_text("panel,curve,x,y\n")
    monkeypatch.setenv("FLOWSIM_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="SHA-256"):
        load_published()


# --- the edge of stability ------------------------------------------------------------------------


def test_outer_gain_is_a_power_of_the_norm_where_layers_are_balanced():
    from types import SimpleNamespace

    for N in (2, 3, 5):
        w = np.array([3.0, -4.0, 12.0])
        factors = DeepLinear((3, *[1] * N)).balanced(w)
        run = SimpleNamespace(states=tuple(W[None] for W in factors))
        assert np.isclose(outer_gain(run)[0], 13.0 ** (2 - 2 / N), rtol=1e-13)


# --- all of it, on few steps ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome():
    return STUDIES["gas-ethanol"].plan(p="2", depth="2", steps=300).run()


@pytest.mark.slow
def test_a_reduced_run_is_whole(outcome):
    assert outcome.failures == {}
    assert outcome.unfinished == {}
    assert not outcome.interrupted
    assert {run.key for run in outcome.runs} == {
        "p2-depth2-flow", "p2-depth2-descent", "edge-emulated"
    }  # fmt: skip
    assert outcome.edge is not None


@pytest.mark.slow
def test_the_flow_follows_the_published_curve(outcome):
    flow = outcome.find(2, 2, "flow")
    for k in TABLED[1:]:
        assert abs(flow.at(k) / outcome.published.at("L2_best", "2", k) - 1) < 0.03


@pytest.mark.slow
def test_early_descent_is_near_its_flow(outcome):
    flow, descent = outcome.find(2, 2, "flow"), outcome.find(2, 2, "descent")
    assert abs(descent.at(300) / flow.at(300) - 1) < 1e-2


@pytest.mark.slow
def test_the_report_stands_alone_and_says_what_was_found(outcome, tmp_path):
    text = outcome.report(tmp_path / "report.html").read_text(encoding="utf-8")
    page = assert_stands_alone(text)
    words = "".join(page.text)
    assert page.tags.count("svg") >= 4
    assert page.tags.count("math") >= 6
    assert page.tags.count("table") >= 4
    for told in ("Published:".removesuffix(":"), "SHA-256", "arXiv:1802.06509", "2/η = 1000"):
        assert told in words
    assert "nan" not in words.lower().split()


@pytest.mark.slow
def test_the_saved_data_hold_every_run(outcome, tmp_path):
    from flowsim.trajectory.storage import write_netcdf

    write_netcdf(outcome.to_xarray(), tmp_path / "study.nc")
    data = read_netcdf(tmp_path / "study.nc")
    assert set(data.run.values) == {run.key for run in outcome.runs}
    flow = data.sel(run="p2-depth2-flow")
    assert float(flow.loss[int(flow.records) - 1]) == outcome.find(2, 2, "flow").trajectory.loss[-1]
    assert data.attrs["exponents"] == "2"
    assert data.attrs["data_sha256"] == outcome.dataset.checksum
    assert "p2-depth2-comparison_gap" in data
    assert "edge_imbalance" in data
