"""Online choice of precision: sparsity, violation cost, surrogate table, multiplier and the baselines."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog
from tolerances import SIGMAS, assert_mean

from receivers.precision.control import (
    Multiplier,
    calibrate,
    choose,
    mixture_for,
    select,
    static_policy,
)
from receivers.precision.violation import Surrogate, hoyer_sparsity, importance, violation_cost
from simulator.core.errors import ConfigError

# float64 sums of up to some thousand terms.
ROUNDING = 1e-12


def near(expected):
    return pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)


# Sparsity and violation cost -----------------------------------------------------------------------------------------


def test_sparsity_at_its_ends():
    one_hot = np.zeros((1, 3, 4))
    one_hot[0, 2, 1] = -7
    assert hoyer_sparsity(one_hot) == 1
    signs = np.where(np.arange(12) % 3, 5.0, -5.0).reshape(1, 3, 4)
    assert hoyer_sparsity(signs) == near(0)
    assert hoyer_sparsity(np.zeros((2, 5))).tolist() == [0, 0]
    assert hoyer_sparsity([[3, 4, 0, 0]]) == near(2 - 7 / 5)  # (2 - 7/5) / (2 - 1)
    assert hoyer_sparsity(np.zeros((0, 3, 4))).shape == (0,)


def test_sparsity_against_a_loop(rng):
    x = rng.standard_normal((30, 2, 4, 3)) * rng.integers(0, 2, (30, 2, 4, 3))
    x[:, 0, 0, 0] += 0.1
    expected = []
    for sample in x:
        l1 = sum(abs(float(v)) for v in sample.ravel())
        l2 = sum(float(v) ** 2 for v in sample.ravel()) ** 0.5
        expected.append((24**0.5 - l1 / l2) / (24**0.5 - 1))
    sparsity = hoyer_sparsity(x)
    assert sparsity.dtype == np.float64 and sparsity == near(np.array(expected))
    for scale in (1e-300, 1e300):
        assert hoyer_sparsity(x * scale) == near(sparsity)
    assert hoyer_sparsity(x.astype(np.float32)) == pytest.approx(sparsity, abs=1e-6)


@pytest.mark.parametrize(
    "x", [np.ones((2, 3), complex), np.ones(4), np.ones((3, 1)), np.array([[1.0, np.nan]]), [["a", "b"]], np.float64(1)]
)
def test_sparsity_refuses(x):
    with pytest.raises(ConfigError, match=r"sparsity\.x"):
        hoyer_sparsity(x)


def test_violation_by_hand():
    # wanted rate 0.9 * 10 = 9: reached, just reached, missed by 1/3, missed altogether
    cost = violation_cost([12.0, 9.0, 6.0, 0.0], 10.0, 0.9, beta=0.6, eps=1e-12)
    assert cost == near([0, 0, 1.2, 1.6])
    assert violation_cost(6.0, 10.0, 0.9, beta=0) == 1
    assert violation_cost(0.0, 0.0, 0.9) == 0
    assert violation_cost(0.0, 2.0, 0.5, beta=2, eps=1.0) == near(2)  # 1 + 2 * 1 / (1 + 1)


def test_violation_against_a_loop(rng):
    rate, rate_ref = rng.uniform(0, 5, (4, 1, 50)), rng.uniform(2, 5, (3, 50))
    gamma = np.array([0.95, 0.98, 0.99])[:, None]
    cost = violation_cost(rate, rate_ref, gamma, beta=0.7, eps=1e-3)
    assert cost.shape == (4, 3, 50)
    for (p, g, t), value in np.ndenumerate(cost):
        wanted = gamma[g, 0] * rate_ref[g, t]
        outage = 1 if rate[p, 0, t] < wanted else 0
        assert value == near(outage + 0.7 * max(0, wanted - rate[p, 0, t]) / (wanted + 1e-3))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("rate", {"rate": [-1.0, 2]}),
        ("rate", {"rate": [np.nan, 2]}),
        ("rate_ref", {"rate_ref": [1.0, np.inf]}),
        ("gamma", {"gamma": 0.0}),
        ("gamma", {"gamma": 1.0}),
        ("gamma", {"gamma": np.nan}),
        ("beta", {"beta": -0.1}),
        ("eps", {"eps": 0.0}),
        ("rate, rate_ref, gamma", {"rate_ref": [1.0, 2, 3]}),
        ("rate, rate_ref, gamma", {"rate_ref": [1.0, 2, 3], "gamma": [0.9, 0.8]}),
    ],
)
def test_violation_refuses(field, change):
    with pytest.raises(ConfigError) as error:
        violation_cost(**{"rate": [1.0, 2], "rate_ref": [2.0, 2], "gamma": 0.9, **change})
    assert error.value.field == field


def test_importance():
    assert importance([0, 0.25, 1], 2.0).tolist() == [1, 1.5, 3]
    assert importance([0.3, 0.9], 0).tolist() == [1, 1]
    for sparsity, alpha in (([0.5], -1.0), ([-0.5], 1.0), ([np.nan], 1.0), ([0.5], np.inf)):
        with pytest.raises(ConfigError):
            importance(sparsity, alpha)


# Surrogate -----------------------------------------------------------------------------------------------------------

SNR_DB = np.array([10.0, 20, 30])


def samples(rng, num=200, policies=4):
    return rng.uniform(0, 1.5, (policies, len(SNR_DB), num)), rng.beta(2, 5, num)


def loop_table(violations, sparsity, edges, min_samples):
    """Table, counts and pooled bins by the definition."""
    num_bins = len(edges) + 1
    ends = [-np.inf, *edges, np.inf]
    members = [[t for t, s in enumerate(sparsity) if ends[b] <= s < ends[b + 1]] for b in range(num_bins)]
    table = np.zeros((*violations.shape[:2], num_bins))
    for p, n, b in np.ndindex(table.shape):
        used = members[b] if len(members[b]) >= min_samples else range(len(sparsity))
        table[p, n, b] = sum(violations[p, n, t] for t in used) / len(used)
    counts = [len(member) for member in members]
    return table, counts, [count < min_samples for count in counts]


@pytest.mark.parametrize("num", [200, 207, 11, 3, 1])
def test_table_against_a_loop(num, rng):
    violations, sparsity = samples(rng, num)
    surrogate = Surrogate.fit(violations, sparsity, SNR_DB, num_bins=10, min_samples=20)
    table, counts, pooled = loop_table(violations, sparsity, surrogate.edges, 20)
    assert len(counts) == min(10, num) and max(counts) - min(counts) <= 1  # no ties: equal counts
    assert surrogate.table == near(table)
    assert surrogate.counts.tolist() == counts and surrogate.counts.sum() == num
    assert surrogate.pooled.tolist() == pooled == [num < 200] * len(counts)


def test_bins_with_few_samples_use_all(rng):
    violations, _ = samples(rng, 100)
    sparsity = rng.permutation(np.repeat([0.2, 0.4, 0.5, 0.9], [60, 5, 25, 10]))
    surrogate = Surrogate.fit(violations, sparsity, SNR_DB, num_bins=10, min_samples=10)
    assert surrogate.edges.tolist() == [0.4, 0.5, 0.9]  # equal sparsities stay together
    assert surrogate.counts.tolist() == [60, 5, 25, 10]
    assert surrogate.pooled.tolist() == [False, True, False, False]
    assert surrogate.table == near(loop_table(violations, sparsity, surrogate.edges, 10)[0])
    assert surrogate.table[:, :, 1] == near(violations.mean(axis=2))


def test_equal_sparsities_are_one_bin(rng):
    violations, _ = samples(rng, 50)
    surrogate = Surrogate.fit(violations, np.full(50, 0.3), SNR_DB)
    assert surrogate.edges.size == 0 and surrogate.counts.tolist() == [50] and not surrogate.pooled.any()
    assert surrogate.lookup(20.0, [0.1, 0.3, 0.8]) == near(np.tile(violations[:, 1].mean(axis=1), (3, 1)))


def test_lookup_takes_the_nearest_snr_and_the_outer_bins(rng):
    surrogate = Surrogate.fit(*samples(rng), SNR_DB, num_bins=5)
    first, *_, last = surrogate.edges
    sparsity = np.array([-1.0, first - 1e-9, first, last - 1e-9, last, 1.0, 99.0])
    bins = [0, 0, 1, 3, 4, 4, 4]
    for snr_db, row in ((-5, 0), (10, 0), (15, 0), (15.1, 1), (24.9, 1), (25, 1), (25.1, 2), (80, 2)):
        found = surrogate.lookup(snr_db, sparsity)
        assert found.shape == (7, 4) and found.tolist() == [surrogate.table[:, row, b].tolist() for b in bins]
    mixed = surrogate.lookup([30, 10, 20, 20, 10, 30, 10], sparsity)
    rows = [2, 0, 1, 1, 0, 2, 0]
    assert mixed.tolist() == [surrogate.table[:, row, b].tolist() for row, b in zip(rows, bins, strict=True)]


def test_surrogate_through_a_file(tmp_path, rng):
    surrogate = Surrogate.fit(*samples(rng, 95), SNR_DB, num_bins=5)
    np.savez(tmp_path / "table.npz", **surrogate.to_arrays(), other=np.arange(3))
    with np.load(tmp_path / "table.npz") as arrays:
        back = Surrogate.from_arrays(arrays)
    for name, value in surrogate.to_arrays().items():
        stored = getattr(back, name)
        assert stored.dtype == value.dtype and stored.tolist() == value.tolist()
    sparsity = rng.uniform(0, 1, 40)
    assert np.array_equal(back.lookup(12.0, sparsity), surrogate.lookup(12.0, sparsity))


@pytest.mark.parametrize(
    "change",
    [
        {"snr_db": np.array([10.0, 10, 30])},
        {"snr_db": SNR_DB[:2]},
        {"edges": np.array([0.5, 0.4, 0.6, 0.7])},
        {"edges": np.array([0.5, 0.6])},
        {"table": np.zeros((4, 5, 3))},
        {"table": np.zeros((0, 3, 5))},
        {"table": np.full((4, 3, 5), np.nan)},
        {"table": np.full((4, 3, 5), -1.0)},
        {"counts": np.arange(4)},
        {"counts": np.ones(5)},
        {"counts": np.full(5, -1)},
        {"pooled": np.zeros(5, int)},
        {"pooled": np.zeros(6, bool)},
    ],
)
def test_wrong_tables(change, rng):
    surrogate = Surrogate.fit(*samples(rng), SNR_DB, num_bins=5)
    with pytest.raises(ConfigError, match="surrogate"):
        Surrogate.from_arrays({**surrogate.to_arrays(), **change})
    with pytest.raises(ConfigError, match="surrogate"):
        replace(surrogate, **change)
    arrays = surrogate.to_arrays()
    del arrays[next(iter(change))]
    with pytest.raises(ConfigError, match=next(iter(change))):
        Surrogate.from_arrays(arrays)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("sparsity", {"violations": np.zeros((4, 3, 0)), "sparsity": []}),
        ("violations", {"violations": np.zeros((4, 3, 9))}),
        ("violations", {"violations": np.zeros((4, 2, 10))}),
        ("violations", {"violations": np.zeros((3, 10))}),
        ("violations", {"violations": np.full((4, 3, 10), np.nan)}),
        ("sparsity", {"sparsity": np.zeros((10, 1))}),
        ("sparsity", {"sparsity": np.full(10, np.nan)}),
        ("surrogate.snr_db", {"snr_db": [10.0, 30, 20]}),
        ("surrogate.table", {"violations": np.zeros((4, 0, 10)), "snr_db": []}),
        ("surrogate.table", {"violations": np.zeros((0, 3, 10))}),
        ("num_bins", {"num_bins": 0}),
        ("num_bins", {"num_bins": 2.5}),
        ("min_samples", {"min_samples": True}),
    ],
)
def test_fit_refuses(field, change):
    good = {"violations": np.zeros((4, 3, 10)), "sparsity": np.linspace(0, 1, 10), "snr_db": SNR_DB}
    with pytest.raises(ConfigError) as error:
        Surrogate.fit(**{**good, **change})
    assert error.value.field == field


def test_lookup_refuses(rng):
    surrogate = Surrogate.fit(*samples(rng), SNR_DB)
    for snr_db, sparsity in ((np.nan, [0.5]), (10.0, [np.nan]), ([10.0, 20], [0.5]), (10.0, 0.5), (np.inf, [0.5])):
        with pytest.raises(ConfigError):
            surrogate.lookup(snr_db, sparsity)


# Choice and calibration ----------------------------------------------------------------------------------------------


def instance(rng, policies=5, bins=8, num=400, alpha=2.0):
    """Surrogate costs of samples that fall into bins: dearer policies mostly violate less. Weights, policy costs."""
    kappa = np.sort(rng.uniform(0.05, 1, policies))[rng.permutation(policies)]
    table = rng.uniform(0, 1.5, (bins, policies)) * (1.1 - kappa)
    return table[rng.integers(0, bins, num)], 1 + alpha * rng.uniform(0, 1, num), kappa


def expected(cost, weight, kappa, multiplier):
    """Expected average policy cost and weighted violation under time sharing."""
    totals = np.zeros(2)
    for share, value in ((multiplier.share, multiplier.low), (1 - multiplier.share, multiplier.high)):
        chosen = choose(cost, weight, kappa, value)
        violation = weight * cost[np.arange(len(cost)), chosen]
        totals += share * np.array([kappa[chosen].mean(), violation.mean()])
    return totals


def test_choice_by_brute_force(rng):
    cost, weight, kappa = instance(rng)
    for multiplier in (0.0, 0.1, 0.7, 3.0, 1e6):
        chosen = choose(cost, weight, kappa, multiplier)
        assert chosen.dtype == np.int64
        for t, policy in enumerate(chosen):
            objective = [weight[t] * cost[t, p] + multiplier * kappa[p] for p in range(len(kappa))]
            assert policy == objective.index(min(objective))
    assert (choose(cost, weight, kappa, 1e6) == kappa.argmin()).all()
    assert np.array_equal(choose(cost, weight, kappa, 0), cost.argmin(axis=1))


def test_ties_go_to_the_cheapest():
    kappa = np.array([1.0, 0.5, 0.25, 0.25])
    assert choose(np.zeros((2, 4)), np.ones(2), kappa, 0).tolist() == [2, 2]
    assert choose([[0, 0.25, 1, 1]], [2.0], kappa, 1).tolist() == [1]  # 1 = 1 < 2.25
    assert choose([[0, 0.25, 9, 9], [1, 1, 1, 0.5]], [1.0, 1], kappa, 0.5).tolist() == [1, 3]
    assert choose(np.zeros((0, 4)), np.zeros(0), kappa, 1).shape == (0,)


@pytest.mark.parametrize(
    ("policies", "bins", "alpha"), [(5, 8, 2.0), (5, 8, 0.0), (3, 1, 0.0), (3, 1, 1.0), (2, 2, 0.0), (10, 50, 3.0)]
)
def test_calibration_meets_the_budget(policies, bins, alpha, rng):
    for _ in range(12):
        cost, weight, kappa = instance(rng, policies, bins, num=120, alpha=alpha)
        free = kappa[choose(cost, weight, kappa, 0)].mean()
        for part in (0, 1e-6, 0.3, 0.77, 1 - 1e-6):
            budget = kappa.min() + part * (free - kappa.min())
            multiplier = calibrate(cost, weight, kappa, budget)
            assert expected(cost, weight, kappa, multiplier)[0] == near(budget)
            assert multiplier.high <= np.nextafter(multiplier.low, np.inf)  # one jump


def test_budgets_that_do_not_bind(rng):
    cost, weight, kappa = instance(rng)
    free = kappa[choose(cost, weight, kappa, 0)].mean()
    for budget in (free * (1 + ROUNDING), 1.0, 50.0):
        assert calibrate(cost, weight, kappa, budget) == Multiplier(0, 0, 1)
    assert calibrate(np.ones((7, 2)), np.ones(7), [0.4, 0.1], 0.1) == Multiplier(0, 0, 1)  # all equal: the cheapest
    assert calibrate([[0.3]], [1.0], [0.7], 0.7) == Multiplier(0, 0, 1)


def test_the_cheapest_policy_is_a_feasible_budget(rng):
    cost, weight, kappa = instance(rng)
    kappa[2] = 0.1 / 3
    for budget in (0.1 / 3, 0.1 / 3 * (1 - 1e-15)):
        multiplier = calibrate(cost, weight, kappa, budget)
        assert (select(cost, weight, kappa, multiplier, rng.random(len(cost))) == 2).all()


def test_one_jump_by_hand():
    # violations 1 and 0 at costs 0.2 and 1: indifferent at 1 / 0.8; budget 0.6 is half way
    cost, kappa = np.tile([0.0, 1.0], (10, 1)), np.array([1.0, 0.2])
    multiplier = calibrate(cost, np.ones(10), kappa, 0.6)
    assert multiplier.low == near(1.25) and multiplier.high == near(1.25) and multiplier.share == near(0.5)
    assert choose(cost, np.ones(10), kappa, multiplier.low).tolist() == [0] * 10
    assert choose(cost, np.ones(10), kappa, multiplier.high).tolist() == [1] * 10


@pytest.mark.parametrize(("policies", "bins", "alpha"), [(4, 3, 1.0), (4, 3, 0.0), (3, 1, 0.0)])
def test_no_random_selection_is_better(policies, bins, alpha, rng):
    """Linear program over the probabilities of every policy for every sample."""
    for _ in range(4):
        cost, weight, kappa = instance(rng, policies, bins, num=25, alpha=alpha)
        free = kappa[choose(cost, weight, kappa, 0)].mean()
        budget = kappa.min() + rng.uniform(0.1, 0.9) * (free - kappa.min())
        num = len(cost)
        best = linprog(
            (weight[:, None] * cost).ravel() / num,
            A_ub=np.tile(kappa, num)[None] / num,
            b_ub=[budget],
            A_eq=np.kron(np.eye(num), np.ones(policies)),
            b_eq=np.ones(num),
        )
        mean_cost, violation = expected(cost, weight, kappa, calibrate(cost, weight, kappa, budget))
        assert best.status == 0 and mean_cost == near(budget)
        assert violation == pytest.approx(best.fun, rel=1e-7)  # tolerance of the solver


def test_calibration_by_the_surrogate(rng):
    """All steps together: more violations of the cheap policies where channels are dense."""
    sparsity, snr_db = rng.beta(3, 3, 2000), np.array([10.0, 20])
    kappa = np.array([0.125, 0.25, 0.5, 1])
    reach = 1 - (1 - kappa)[:, None, None] * (1 - sparsity) * snr_db[:, None] / 40
    violations = violation_cost(reach * rng.uniform(0.9, 1, reach.shape), 1.0, 0.9)
    surrogate = Surrogate.fit(violations, sparsity, snr_db)
    cost, weight = surrogate.lookup(20.0, sparsity), importance(sparsity, 1.0)
    multiplier = calibrate(cost, weight, kappa, 0.4)
    chosen = select(cost, weight, kappa, multiplier, rng.random(len(cost)))
    assert kappa[chosen].mean() == pytest.approx(0.4, rel=0.005)
    mixture = mixture_for(kappa, 0.4)
    true = violations[:, 1].T
    assert (weight * true[np.arange(2000), chosen]).mean() < (weight * (true @ mixture)).mean()
    static = static_policy(kappa, violations[:, 1].mean(axis=1), 0.4)
    assert static == 1 and (weight * true[np.arange(2000), chosen]).mean() < (weight * true[:, static]).mean()


def test_selection_shares_the_samples(rng):
    cost, kappa = np.tile([0.0, 1.0], (20_000, 1)), np.array([1.0, 0.2])
    weight = np.ones(len(cost))
    multiplier = calibrate(cost, weight, kappa, 0.44)  # share 0.3
    chosen = select(cost, weight, kappa, multiplier, rng.random(len(cost)))
    assert chosen.dtype == np.int64 and set(chosen) == {0, 1}
    assert_mean(kappa[chosen], 0.44)
    assert abs(np.corrcoef(chosen[1:], chosen[:-1])[0, 1]) < SIGMAS / len(chosen) ** 0.5  # a draw for every sample


def test_selection_takes_the_draw_of_each_sample(rng):
    cost, weight, kappa = instance(rng, bins=1, alpha=0)
    multiplier = calibrate(cost, weight, kappa, (kappa.min() + kappa[cost[0].argmin()]) / 2)
    draw = rng.random(len(cost))
    low, high = (choose(cost, weight, kappa, value) for value in (multiplier.low, multiplier.high))
    chosen = select(cost, weight, kappa, multiplier, draw)
    np.testing.assert_array_equal(chosen, np.where(draw < multiplier.share, low, high))
    for share, value in ((0.0, multiplier.high), (1.0, multiplier.low)):
        chosen = select(cost, weight, kappa, replace(multiplier, share=share), draw)
        assert np.array_equal(chosen, choose(cost, weight, kappa, value))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("cost", {"cost": np.zeros((3, 3))}),
        ("cost", {"cost": np.zeros(3)}),
        ("cost", {"cost": np.full((3, 2), np.nan)}),
        ("weight", {"weight": np.ones(2)}),
        ("weight", {"weight": np.ones((3, 1))}),
        ("weight", {"weight": [1, 1, -1.0]}),
        ("weight", {"weight": [1, 1, np.nan]}),
        ("kappa", {"kappa": [0.5, -0.1]}),
        ("kappa", {"kappa": [0.5, np.nan]}),
        ("kappa", {"kappa": [], "cost": np.zeros((3, 0))}),
    ],
)
def test_choice_refuses(field, change):
    arguments = {"cost": np.zeros((3, 2)), "weight": np.ones(3), "kappa": [0.5, 1.0], **change}
    for call in (choose, calibrate):
        with pytest.raises(ConfigError) as error:
            call(*arguments.values(), 0.7)
        assert error.value.field == field


def test_wrong_multipliers():
    for value in (-1.0, np.nan, np.inf, [1.0, 2, 3]):
        with pytest.raises(ConfigError, match="multiplier"):
            choose(np.zeros((3, 2)), np.ones(3), [0.5, 1.0], value)
    for low, high, share in ((-1, 0, 0.5), (2, 1, 0.5), (0, np.inf, 0.5), (0, 1, 1.5), (0, 1, -0.1), (0, 1, np.nan)):
        with pytest.raises(ConfigError, match="multiplier"):
            Multiplier(low, high, share)
    with pytest.raises(ConfigError, match="at least one calibration sample"):
        calibrate(np.zeros((0, 2)), np.zeros(0), [0.5, 1.0], 0.7)


# Baselines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policies", [2, 3, 10])
def test_mixture_has_the_mean_and_the_largest_entropy(policies, rng):
    kappa = np.sort(rng.uniform(0.05, 1, policies))[::-1]
    for part in (1e-9, 0.01, 0.5, 0.9, 1 - 1e-9):
        budget = kappa.min() + part * np.ptp(kappa)
        p = mixture_for(kappa, budget)
        assert p @ kappa == near(budget) and p.sum() == near(1)
        if 0.005 < part < 0.995:
            assert (p > 0).all()
            slope = np.diff(np.log(p)) / np.diff(kappa)  # stationary entropy: log p is a line in kappa
            assert slope == pytest.approx(np.full(policies - 1, slope[0]), rel=1e-6, abs=1e-9)
    assert mixture_for(kappa, kappa.mean()) == pytest.approx(np.full(policies, 1 / policies), abs=1e-9)


def test_mixture_by_hand():
    assert mixture_for([0.2, 1.0], 0.4) == near([0.75, 0.25])
    assert mixture_for([0.5, 1.0, 0.5], 0.5).tolist() == [0.5, 0, 0.5]
    assert mixture_for([0.5, 1.0, 0.5], 1.0).tolist() == [0, 1, 0]
    assert mixture_for([0.5, 0.5], 0.5).tolist() == [0.5, 0.5]


def test_static_policy():
    kappa, merit = [0.25, 0.5, 0.4, 0.5, 1.0], [0.9, 0.3, 0.5, 0.2, 0.0]
    found = [static_policy(kappa, merit, budget) for budget in (0.25, 0.3, 0.4, 0.5, 0.99, 1.0, 7.0)]
    assert found == [0, 0, 2, 3, 3, 4, 4]
    assert static_policy([0.5, 0.25, 0.25], [1.0, 1, 1], 1.0) == 1
    assert static_policy([0.1 * 3, 0.1], [0.0, 1], 0.3) == 0  # 0.1 * 3 > 0.3 by rounding


def test_infeasible_budgets():
    kappa = [0.5, 0.25, 1.0]
    for call in (
        lambda budget: calibrate(np.eye(3), np.ones(3), kappa, budget),
        lambda budget: mixture_for(kappa, budget),
        lambda budget: static_policy(kappa, [1, 2, 3], budget),
    ):
        with pytest.raises(ConfigError) as error:
            call(0.2499)
        assert (error.value.field, error.value.received, error.value.allowed) == ("budget", 0.2499, "at least 0.25")
        with pytest.raises(ConfigError, match="finite"):
            call(np.nan)
    with pytest.raises(ConfigError, match="at most 1"):
        mixture_for(kappa, 1.01)
    for call in (lambda: mixture_for([], 0.5), lambda: static_policy([], [], 0.5), lambda: mixture_for([[1.0]], 1)):
        with pytest.raises(ConfigError, match="kappa"):
            call()
    with pytest.raises(ConfigError, match="merit"):
        static_policy(kappa, [1, 2], 0.5)
    with pytest.raises(ConfigError, match="merit"):
        static_policy(kappa, [1, 2, np.nan], 0.5)
