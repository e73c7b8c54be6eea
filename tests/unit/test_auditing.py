"""Every figure of the audit against an oracle of its own, and a statement wherever there is none."""

import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from croco.auditing import audit
from croco.auditing.margins import calibration
from croco.auditing.trust import RULES, remarks, trust
from croco.records import Audited, Rewards
from croco.report.audit import section, unknown
from croco.report.page import Report, page
from croco.stats import spearman

SHARED = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
ORACLE = SHARED / "judge_oracle" / "judgebench_gpt4o_pairs.jsonl"
SEED = 7


def judged(id, lang, chosen, rejected, lengths=(20, 10), spoken=(True, True), flaw=""):
    return Audited(id, lang, flaw, chosen, rejected, *lengths, *spoken)


def sample(lang, count, seed, slope=1.0, shift=0.0):
    """Pairs whose reward knows quality a little, pays for length, and ties now and then."""
    draw = random.Random(seed)
    rows = []
    for k in range(count):
        lengths = draw.randint(5, 200), draw.randint(5, 200)
        quality = draw.gauss(0.5, 1)
        rewards = [shift + slope * math.log2(n) + draw.gauss(0, 0.5) for n in lengths]
        rewards[0] += quality
        if k % 9 == 0:
            rewards[1] = rewards[0]
        spoken = draw.random() < 0.9, draw.random() < 0.7
        rows.append(judged(f"p{k}", lang, *rewards, lengths, spoken, "ab"[k % 2]))
    return rows


ENGLISH, SPANISH = sample("en", 60, 1), sample("es", 45, 2, shift=3.0)
FOUND = audit([*SPANISH, *ENGLISH], SEED)


def wins(one, other):
    return [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(one, other, strict=True)]


def bootstrap(statistic, count, draws=800):
    """Plain percentiles of a statistic of resampled places: an interval made another way."""
    rng = np.random.default_rng(3)
    values = [statistic(rng.integers(0, count, count)) for _ in range(draws)]
    return np.nanquantile(values, [0.025, 0.975])


def test_the_summary_keeps_its_keys_and_every_language():
    assert list(FOUND) == ["en", "es"]
    assert {"accuracy", "ci", "n", "longer_wins"} <= FOUND["en"].keys()
    assert (FOUND["en"]["n"], FOUND["es"]["prompts"]) == (60, 45)


def test_accuracy_and_both_rules_are_shares_of_pairs():
    own, found = SPANISH, FOUND["es"]
    right = wins([r.chosen for r in own], [r.rejected for r in own])
    longer = wins([r.chosen_length for r in own], [r.rejected_length for r in own])
    spoken = wins([r.chosen_in_language for r in own], [r.rejected_in_language for r in own])
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["longer_wins"] == pytest.approx(np.mean(longer))
    assert found["in_language_wins"] == pytest.approx(np.mean(spoken))
    assert found["over_longer_wins"]["value"] == pytest.approx(np.mean(right) - np.mean(longer))
    lead = np.subtract(right, spoken)
    assert found["over_in_language_wins"]["value"] == pytest.approx(lead.mean())
    expected = bootstrap(lambda places: lead[places].mean(), len(own))
    assert found["over_in_language_wins"]["ci"] == pytest.approx(expected, abs=0.03)
    assert found["tied"] == 5


def test_where_the_language_decides_rule_and_reward_are_judged_on_those_pairs_alone():
    decided = [row for row in SPANISH if row.chosen_in_language != row.rejected_in_language]
    found = FOUND["es"]["in_language_decides"]
    assert 0 < len(decided) < len(SPANISH)
    assert found["n"] == len(decided)
    assert found["share"] == len(decided) / len(SPANISH)
    assert found["rule"] == pytest.approx(np.mean([row.chosen_in_language for row in decided]))
    right = wins([r.chosen for r in decided], [r.rejected for r in decided])
    assert found["value"] == pytest.approx(np.mean(right))


def test_accuracy_where_chosen_is_longer_or_shorter_and_by_flaw():
    found = FOUND["en"]
    parts = {
        "chosen_longer": [r for r in ENGLISH if r.chosen_length > r.rejected_length],
        "chosen_shorter": [r for r in ENGLISH if r.chosen_length < r.rejected_length],
    }
    for name, rows in parts.items():
        right = wins([r.chosen for r in rows], [r.rejected for r in rows])
        assert (found[name]["value"], found[name]["n"]) == (
            pytest.approx(np.mean(right)),
            len(rows),
        )
    # The reward pays for length: it must be right more often where the longer answer is the better.
    assert found["chosen_longer"]["value"] > found["chosen_shorter"]["value"]
    assert [own["n"] for own in found["flaws"].values()] == [30, 30]


def test_calibration_is_that_of_equal_bins_of_the_margin():
    margins = sorted((row.margin for row in ENGLISH), key=abs)
    found = FOUND["en"]["calibration"]
    assert sum(one["n"] for one in found["bins"]) == len(margins) == 60
    error, start = 0.0, 0
    for one in found["bins"]:
        own = margins[start : start + one["n"]]
        start += one["n"]
        right = np.mean([1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in own])
        confidence = np.mean([1 / (1 + math.exp(-abs(m))) for m in own])
        assert (one["right"], one["confidence"]) == (
            pytest.approx(right),
            pytest.approx(confidence),
        )
        assert (one["low"], one["high"]) == (abs(own[0]), abs(own[-1]))
        error += len(own) / len(margins) * abs(right - confidence)
    assert found["expected_error"] == pytest.approx(error)
    assert len(found["bins"]) > 3


def test_the_temperature_is_the_likeliest():
    margins = np.array([row.margin for row in SPANISH])
    best = optimize.minimize_scalar(
        lambda heat: np.log1p(np.exp(-margins / heat)).sum(), bounds=(0.05, 50), method="bounded"
    )
    assert FOUND["es"]["calibration"]["temperature"] == pytest.approx(best.x, rel=1e-3)


def test_calibrated_margins_have_temperature_one_and_little_error():
    draw = random.Random(5)
    margins = []
    for _ in range(4000):
        margin = abs(draw.gauss(0, 2))
        right = draw.random() < 1 / (1 + math.exp(-margin))
        margins.append(margin if right else -margin)
    found = calibration(margins)
    assert found["temperature"] == pytest.approx(1.0, abs=0.1)
    assert found["expected_error"] < 0.02


def test_the_length_slope_is_a_line_through_margins_and_ratios_of_lengths():
    x = np.log2([r.chosen_length / r.rejected_length for r in ENGLISH])
    y = np.array([row.margin for row in ENGLISH])
    rewards = np.array([[row.chosen, row.rejected] for row in ENGLISH])

    def slope(places):
        return np.polyfit(x[places], y[places], 1)[0] / rewards[places].std()

    found = FOUND["en"]["length_slope"]
    assert found["value"] == pytest.approx(slope(np.arange(60)))
    assert found["ci"] == pytest.approx(bootstrap(slope, 60), abs=0.05)


def test_a_reward_that_is_better_by_a_constant_has_no_length_slope():
    # Chosen is longer on the whole and better by 2, but not because of its length.
    rows = [judged(f"p{k}", "en", 2.0, 0.0, (20 + 7 * k, 11)) for k in range(10)]
    assert audit(rows, SEED)["en"]["length_slope"]["value"] == pytest.approx(0, abs=1e-9)


def test_drift_is_in_english_deviations_on_shared_prompts_alone():
    english = np.array([[row.chosen, row.rejected] for row in ENGLISH[:45]])
    gaps = np.array([[r.chosen, r.rejected] for r in SPANISH]).mean(1) - english.mean(1)

    def drift(places):
        return gaps[places].mean() / english[places].std()

    found = FOUND["es"]["english"]
    assert found["prompts"] == found["drift"]["n"] == 45
    assert found["drift"]["value"] == pytest.approx(drift(np.arange(45)))
    assert found["drift"]["ci"] == pytest.approx(bootstrap(drift, 45), abs=0.1)


def test_rank_agreement_is_spearmans_on_shared_prompts():
    english, found = ENGLISH[:45], FOUND["es"]["english"]
    margins = [[row.margin for row in rows] for rows in (SPANISH, english)]
    answers = [
        [r for row in rows for r in (row.chosen, row.rejected)] for rows in (SPANISH, english)
    ]
    assert found["margins"]["value"] == pytest.approx(stats.spearmanr(*margins)[0])
    assert found["rewards"]["value"] == pytest.approx(stats.spearmanr(*answers)[0])
    alike = [(1 + np.sign(a * b)) / 2 for a, b in zip(*margins, strict=True)]
    assert found["same_order"]["value"] == pytest.approx(np.mean(alike))
    assert FOUND["en"]["english"]["drift"]["why"].startswith("English is what")


def test_spearmans_interval_ranks_anew_and_draws_clusters_whole():
    draw = np.random.default_rng(2)
    one = draw.integers(0, 12, 60).astype(float)
    other = one + draw.integers(0, 12, 60)
    clusters = [k // 2 for k in range(60)]
    found = spearman(one, other, clusters, SEED)

    def rho(places):
        rows = np.concatenate([2 * places, 2 * places + 1])
        return stats.spearmanr(one[rows], other[rows])[0]

    assert found.mean == pytest.approx(stats.spearmanr(one, other)[0])
    assert (found.low, found.high) == pytest.approx(bootstrap(rho, 30), abs=0.05)
    assert math.isnan(spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "abc", SEED).mean)


def test_pools_are_compared_by_prompt_with_english():
    draw = np.random.default_rng(4)
    pools = {
        lang: {f"q{k}": (k / 4 + shift + draw.normal(0, 1, 8)).tolist() for k in range(12)}
        for lang, shift in (("en", 0.0), ("es", 2.0))
    }
    rows = [Rewards(id, lang, own) for lang, by_id in pools.items() for id, own in by_id.items()]
    # The order of rows must not matter, nor prompts that English lacks.
    rows = [*reversed(rows), Rewards("alone", "es", [9.0])]
    found = audit([], SEED, rows)["es"]
    means = [[np.mean(own) for own in pools[lang].values()] for lang in ("es", "en")]
    spreads = [[np.std(own) for own in pools[lang].values()] for lang in ("es", "en")]
    assert found["pools"]["prompts"] == 12
    assert found["pools"]["means"]["value"] == pytest.approx(stats.spearmanr(*means)[0])
    assert found["pools"]["spreads"]["value"] == pytest.approx(stats.spearmanr(*spreads)[0])
    english = np.array(list(pools["en"].values()))
    expected = (np.mean(means[0]) - np.mean(means[1])) / english.std()
    assert found["pools"]["drift"]["value"] == pytest.approx(expected)
    assert (found["n"], found["accuracy"], found["trust"]) == (0, None, "too few pairs to tell")


def test_pools_of_equal_rewards_have_no_spread_to_rank():
    rows = [Rewards(f"q{k}", lang, [0.1] * (3 + k)) for k in range(5) for lang in ("en", "es")]
    found = audit([], SEED, rows)["es"]["pools"]
    assert found["means"]["value"] is found["spreads"]["value"] is found["drift"]["value"] is None
    assert "no ranks" in found["spreads"]["why"]
    assert "no deviation" in found["drift"]["why"]


def ties(count):
    return [judged(f"p{k}", "en", 1.5, 1.5, (10 + k, 9)) for k in range(count)]


BAD = {
    "one pair": ([judged("a", "en", 1.0, 0.0)], "1 prompts"),
    "two pairs": ([judged("a", "en", 1.0, 0.0), judged("b", "en", 0.0, 1.0)], "2 prompts"),
    "all ties": (ties(40), "all pairs are ties"),
    "equal rewards": (ties(40), "all rewards are equal"),
    "constant lengths": (
        [judged(f"p{k}", "en", k % 3, 1.0, (3 * (k + 1), k + 1)) for k in range(40)],
        "the length term is not identifiable",
    ),
    "no pair is wrong": ([judged(f"p{k}", "en", 1.0, 0.0) for k in range(40)], "no pair is wrong"),
    "all are wrong": ([judged(f"p{k}", "en", 0.0, 1.0) for k in range(40)], "the wrong way"),
    "no English": (sample("es", 40, 1), "there is no English to compare with"),
    "no shared prompt": (
        [*sample("en", 40, 1), judged("alone", "es", 1.0, 0.0)],
        "es: no drift, no agreement of margins, no agreement of rewards: no prompt is in both",
    ),
    "two shared": (
        [*ENGLISH, *SPANISH[:2]],
        "no agreement of margins, no agreement of rewards: 2 prompts in both: ranks need 3",
    ),
    "English is constant": (
        [*ties(40), *sample("es", 40, 1)],
        "es: no drift: the English rewards are all equal",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_known_is_said_and_nothing_is_nan(name):
    rows, statement = BAD[name]
    found = audit(rows, SEED)
    json.dumps(found, allow_nan=False)
    assert statement in " | ".join(unknown(found))
    text = page(Report("a", SEED, "", [], sections=[section(found)]), "audit_page.html.jinja")
    assert statement in text
    assert ">nan" not in text.lower()


def test_no_rows_no_languages():
    assert audit([], SEED) == {}


def level(rows):
    return next(iter(audit(rows, SEED).values()))["trust"]


def pairs(right, wrong, longer_is_right):
    """Pairs of which so many are right; the longer answer is the better one in so many."""
    lengths = [(20, 10)] * longer_is_right + [(10, 20)] * (right + wrong - longer_is_right)
    margins = [1.0] * right + [-1.0] * wrong
    return [
        judged(f"p{k}", "es", margin, 0.0, length)
        for k, (margin, length) in enumerate(zip(margins, lengths, strict=True))
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (pairs(100, 20, 60), "trust"),
        (pairs(100, 20, 105), "weak"),
        (pairs(60, 60, 20), "do not trust"),
        (pairs(20, 100, 20), "do not trust"),
        (pairs(29, 0, 10), "too few pairs to tell"),
        (pairs(30, 0, 10), "trust"),
        (pairs(18, 17, 10), "too few pairs to tell"),
        (ties(40), "do not trust"),
    ],
)
def test_the_level_of_trust_follows_the_rules(rows, expected):
    assert level(rows) == expected


def test_every_rule_can_be_the_first_to_hold():
    examples = [
        {"n": 0},
        {"n": 5, "prompts": 5},
        {"n": 40, "prompts": 40, "tied": 40},
    ]
    rest = {"n": 40, "prompts": 40, "tied": 0, "accuracy": 0.6, "longer_wins": 0.5}
    for ci, lead in [
        ([0.4, 0.8], 0),
        ([0.3, 0.4], 0),
        ([0.4, 0.6], 0),
        ([0.6, 0.8], -0.1),
        ([0.6, 0.8], 0.1),
    ]:
        examples.append(rest | {"ci": ci, "over_longer_wins": {"ci": [lead, 1]}})
    held = [next(rule for rule in RULES if rule.holds(one)) for one in examples]
    assert held == list(RULES)


def test_the_reason_gives_its_figures():
    reason = trust(audit(pairs(100, 20, 60), SEED)["es"])["reason"]
    assert reason.startswith("right in 83% [76%, 89%] of 120 pairs, the longer answer in 50%: ")


def test_what_else_is_to_be_known_is_said_where_its_interval_excludes_zero():
    drift, length = remarks(FOUND["es"])
    assert "English standard deviations" in drift
    assert "twice the length" in length
    assert "English" not in " ".join(remarks(FOUND["en"]))


def test_rewards_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        audit([judged("a", "en", math.nan, 0.0)], SEED)


#: How many of JudgeBench's 350 pairs of GPT-4o answers each model gets right, a tie counted as wrong:
#: as published (Tan et al., "JudgeBench", 2024, table of reward models: 59.43, 64.29, 62.29, 63.43, 59.43).
PUBLISHED = {
    "Ray2333_GRM-Gemma-2B-rewardmodel-ft": 0.5943,
    "Skywork_Skywork-Reward-Gemma-2-27B": 0.6429,
    "Skywork_Skywork-Reward-Llama-3.1-8B": 0.6229,
    "internlm_internlm2-20b-reward": 0.6343,
    "internlm_internlm2-7b-reward": 0.5943,
}


@pytest.mark.skipif(not ORACLE.exists(), reason="the data is not here")
@pytest.mark.parametrize("model", PUBLISHED)
@pytest.mark.parametrize("order", [0, 1])
def test_five_reward_models_have_their_published_accuracies(model, order):
    rows = []
    for line in ORACLE.open():
        pair = json.loads(line)
        scores = pair["rm_scores"][model][order]
        sides = list(
            zip(scores, (pair["len_A"], pair["len_B"])[:: -1 if order else 1], strict=True)
        )
        if (pair["label"] == "A>B") == bool(order):
            sides.reverse()
        (chosen, longer), (rejected, other) = sides
        rows.append(judged(pair["pair_id"], "en", chosen, rejected, (longer, other)))
    found = audit(rows, SEED)["en"]
    assert found["n"] == 350
    assert found["accuracy"] - found["tied"] / 2 / 350 == pytest.approx(PUBLISHED[model], abs=5e-5)
    assert found["longer_wins"] == pytest.approx(
        np.mean(wins([r.chosen_length for r in rows], [r.rejected_length for r in rows]))
    )


def test_the_accuracy_without_the_gate_gives_back_what_gates_took():
    """Quality prefers the worse answer in both pairs; in one of them the gate sets it right."""
    rows = [
        Audited("a", "es", "", -0.5, -9.0, 9, 9, True, False, 0.0, 10.0),
        Audited("b", "es", "", -0.5, 1.0, 9, 9, True, True, 0.0, 0.0),
        Audited("c", "es", "", 2.0, 1.0, 9, 9, True, True, 0.0, 0.0),
    ]
    found = audit(rows, SEED)["es"]
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["without_gate"]["value"] == pytest.approx(1 / 3)
    assert FOUND["es"]["without_gate"]["value"] is None
    assert FOUND["es"]["without_gate"]["why"]
