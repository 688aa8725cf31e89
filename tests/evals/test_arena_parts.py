"""Elo's order dependence, style features, active pairs, odd voters, battle files, the leaderboard and its picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from thence.core.errors import DataError, UsageError
from thence.evals.arena import Options, leaderboard, make_battles, read_battles
from thence.evals.arena.active import next_pairs, vote_gain, vote_variance
from thence.evals.arena.battles import Battles, joined
from thence.evals.arena.bradley_terry import fit
from thence.evals.arena.elo import elo, rate
from thence.evals.arena.simulate import Arena
from thence.evals.arena.style import difference, expand, measure, terms
from thence.evals.arena.voters import KAPPAS, check_voters, surprises
from thence.tasks.files import write_rows

FOUR = Arena(np.array([-0.5, -0.1, 0.2, 0.4]))


# --- Elo --------------------------------------------------------------------------------------------------------------


def test_elo_of_three_battles_by_hand() -> None:
    battles = make_battles([("x", "y"), ("y", "x"), ("x", "y")], [1, 1, 0.5])
    r = 1000 + 32 * 0.5
    gap = 2 * (r - 1000)
    expected = 1 / (1 + 10 ** (gap / 400))  # of y against x
    y = 2000 - r + 32 * (1 - expected)
    last = 1 / (1 + 10 ** ((y - (2000 - y)) / 400))  # of x against y
    y -= 32 * (0.5 - last)
    (found,) = rate(battles, np.array([[0, 1, 2]]), k=32)
    assert found == pytest.approx([2000 - y, y])


def test_elo_moves_with_the_order_and_bradley_terry_does_not() -> None:
    battles = FOUR.draw(3000, 1)
    rated = elo(battles, shuffles=40)
    assert rated.spread > 20
    assert set(rated.leaders) <= set(battles.models)
    assert sum(rated.leaders.values()) == 40
    shuffled = battles.taken(np.random.default_rng(5).permutation(battles.n))
    assert fit(shuffled).strengths == pytest.approx(fit(battles).strengths, abs=1e-6)
    assert elo(shuffled, shuffles=1).in_order != pytest.approx(rated.in_order, abs=1)


def test_the_spread_of_elo_grows_like_the_root_of_k() -> None:
    battles = Arena(np.array([-0.3, 0.0, 0.3])).draw(4000, 2)
    small, large = (elo(battles, k=k, shuffles=150) for k in (8, 32))
    ratio = float(np.mean((large.high - large.low) / (small.high - small.low)))
    assert 1.6 < ratio < 2.4


# --- style ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "count"), [("length", 88), ("headers", 2), ("lists", 3), ("bold", 2), ("emoji", 1)]
)
def test_features_are_counted_outside_code(feature: str, count: int) -> None:
    text = "# One\n## Two\n- a\n* **b** and __c__\n 1. d \N{PARTY POPPER}\n```\n# code\n- code **code**\n```\n#no\n2.no"
    assert measure(text, feature) == (len(text) if feature == "length" else count)


def test_a_difference_is_normalised_scaled_and_antisymmetric() -> None:
    pairs = np.array([[30.0, 10.0], [0.0, 0.0], [5.0, 15.0]])
    z, spread = difference(pairs, "length")
    assert spread == pytest.approx(math.sqrt((0.25 + 0 + 0.25) / 3))
    assert z == pytest.approx(np.array([0.5, 0, -0.5]) / spread)
    assert difference(pairs[:, ::-1], "length")[0] == pytest.approx(-z)
    assert expand(["style", "position", "length"]) == ("length", "headers", "lists", "bold", "position")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_feature_that_is_no_size_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="of battle 2 is 3 against"):
        difference(np.array([[1.0, 2.0], [3.0, bad]]), "length")


def test_terms_that_the_battles_do_not_have_are_refused() -> None:
    battles = Battles(("x", "y"), np.array([0]), np.array([1]), np.array([1.0]), np.zeros(1))
    with pytest.raises(UsageError, match="no feature 'mood'"):
        terms(battles, ["mood"])
    with pytest.raises(DataError, match="shown first in every battle"):
        terms(battles, ["position"])


# --- who fights next --------------------------------------------------------------------------------------------------


def test_a_vote_narrows_its_pair_by_the_formula_and_unseen_pairs_come_first() -> None:
    gain = vote_gain(np.array([0.25, 0.25, 0.09]), np.array([4.0, 0.0, 4.0]))
    assert gain[0] == pytest.approx(0.5 * (1 / 2 - 1 / math.sqrt(5)))
    assert math.isinf(gain[1])
    assert gain[2] == pytest.approx(0.6 * gain[0])
    battles = make_battles([("x", "y"), ("y", "x"), ("y", "z"), ("z", "y")], [1, 1, 1, 1])
    assert next_pairs(fit(battles), battles.met(), 1, rule="votes") == [("x", "z", 1)]


def test_the_next_battle_for_scores_is_the_one_that_lowers_the_summed_variance_most() -> None:
    fitted = fit(FOUR.draw(300, 3))
    covariance, variance = fitted.covariance[:4, :4], vote_variance(fitted)
    left = {}
    for i in range(4):
        for j in range(i + 1, 4):
            d = np.zeros(4)
            d[i], d[j] = 1, -1
            precision = np.linalg.pinv(covariance) + variance[i, j] * np.outer(d, d)
            left[fitted.models[i], fitted.models[j]] = np.trace(np.linalg.pinv(precision))
    (chosen,) = next_pairs(fitted, FOUR.draw(300, 3).met(), 1)
    assert chosen[:2] == min(left, key=lambda pair: left[pair])


def true_errors(strengths: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Standard errors that so many battles of every pair give, at the true strengths."""
    p = 1 / (1 + np.exp(-(strengths[:, None] - strengths[None, :])))
    information = met * p * (1 - p)
    return np.sqrt(np.diag(np.linalg.pinv(np.diag(information.sum(axis=1)) - information)))


def test_chosen_pairs_end_with_narrower_intervals_than_as_many_uniform_ones() -> None:
    arena = Arena(np.array([-2.0, -0.5, 0.0, 0.5, 2.0]))
    left, right = np.triu_indices(5, 1)
    at = {name: i for i, name in enumerate(arena.models)}
    uniform = true_errors(arena.strengths, 40.0 * (1 - np.eye(5)))
    for seed in range(3):
        chance = np.random.default_rng(seed)
        battles = arena.fight(np.tile(left, 10), np.tile(right, 10), chance)
        for _ in range(10):
            found = next_pairs(fit(battles, ridge=0.1), battles.met(), 30)
            a = np.repeat([at[x] for x, _, _ in found], [n for *_, n in found])
            b = np.repeat([at[y] for _, y, _ in found], [n for *_, n in found])
            battles = joined([battles, arena.fight(a, b, chance)])
        chosen = true_errors(arena.strengths, battles.met())
        assert battles.n == 400
        assert (chosen**2).sum() < 0.95 * (uniform**2).sum()
        assert chosen.max() < uniform.max()


def test_wrong_rules_and_counts_are_refused() -> None:
    battles = FOUR.draw(100, 0)
    with pytest.raises(UsageError, match="write one of votes, scores"):
        next_pairs(fit(battles), battles.met(), 3, rule="luck")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="n is 0"):
        next_pairs(fit(battles), battles.met(), 0)


# --- voters -----------------------------------------------------------------------------------------------------------


def test_each_bet_is_fair() -> None:
    p = (np.arange(2_000_000) + 0.5) / 2_000_000
    for kappa in KAPPAS[1:]:  # the first one's mean converges too slowly on a grid
        assert np.mean(kappa * p ** (kappa - 1)) == pytest.approx(1, abs=0.02)


def test_an_honest_crowds_surprises_are_uniform_and_independent() -> None:
    p = surprises(Arena(np.array([-1.5, 0.0, 1.5]), tie=-0.5).draw(6000, 3))
    assert np.histogram(p, bins=10, range=(0, 1))[0] == pytest.approx(600, abs=100)
    assert abs(np.corrcoef(p[:-1], p[1:])[0, 1]) < 0.05


def test_honest_crowds_are_rarely_flagged_and_careless_voters_are_found() -> None:
    arena = Arena(np.linspace(-2.0, 2.0, 5), tie=-0.5, voters=20)
    false = sum(any(v.flagged for v in check_voters(arena.draw(1000, seed), seed=seed)) for seed in range(60))
    assert false <= 8, "5 % of 60 is 3; 8 has a chance below 1 % then"
    odd = Arena(arena.strengths, tie=-0.5, voters=20, careless=frozenset({3}))
    found = check_voters(odd.draw(8000, 1))
    assert [v.name for v in found if v.flagged] == ["v003"]
    assert found[0].at is not None
    assert found[0].peak >= found[0].limit == 20 / 0.05


def test_voters_need_names_and_a_level() -> None:
    with pytest.raises(UsageError, match="add a column judge"):
        check_voters(FOUR.draw(10, 0))
    with pytest.raises(UsageError, match="alpha is 1"):
        check_voters(Arena(FOUR.strengths, voters=2).draw(10, 0), alpha=1)


# --- files ------------------------------------------------------------------------------------------------------------

BATTLE = {"model_a": "x", "model_b": "y", "winner": "model_a"}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_battle_file_is_read(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "b.jsonl",
        BATTLE | {"judge": "v1", "problem": "p1", "first": "model_b", "mood_a": 1, "mood_b": 3.5},
        {"model_a": "y", "model_b": "z", "winner": "tie (bothbad)", "judge": "v2", "problem": "p1", "first": None}
        | {"mood_a": 0, "mood_b": 2},
    )
    found = read_battles(file, ["mood", "position"])
    assert found.models == ("x", "y", "z")
    assert list(found.outcome) == [1, 0.5]
    assert list(found.first) == [-1, 0]
    assert found.judges == ("v1", "v2")
    assert found.clusters == ("p1", "p1")
    assert found.features["mood"].tolist() == [[1, 3.5], [0, 2]]
    assert (found.both_bad, found.ties) == (1, 1)


def test_chatbot_arenas_published_columns_are_read_unchanged(tmp_path: Path) -> None:
    counts = {"sum_assistant_a_tokens": 10, "sum_assistant_b_tokens": 30, "bold_count_a": {"**": 1, "__": 2}}
    counts |= {"bold_count_b": {"**": 0, "__": 0}, "header_count_a": {"h1": 1, "h2": 0}, "header_count_b": {"h1": 0}}
    counts |= {"list_count_a": {"ordered": 4, "unordered": 1}, "list_count_b": {"ordered": 0, "unordered": 0}}
    row = BATTLE | {"judge": "arena_user_9", "turn": 1, "anony": True, "language": "English", "tstamp": 1.5}
    hidden = row | {"winner": "model_b", "anony": False, "conv_metadata": counts}
    itself = row | {"model_b": "x", "conv_metadata": counts}
    found = read_battles(lines(tmp_path / "a.jsonl", row | {"conv_metadata": counts}, hidden, itself), ["style"])
    assert found.n == 1
    assert {k: v.tolist() for k, v in found.features.items()} == {
        "length": [[10, 30]],
        "headers": [[1, 0]],
        "lists": [[5, 0]],
        "bold": [[3, 0]],
    }
    assert len(found.notes) == 2
    chats = {"conversation_a": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "12345"}]}
    chats |= {"conversation_b": [{"role": "assistant", "content": [{"type": "text", "text": "# t"}]}]}
    talked = read_battles(lines(tmp_path / "c.jsonl", BATTLE | chats), ["length", "headers"])
    assert talked.features["length"].tolist() == [[5, 3]]
    assert talked.features["headers"].tolist() == [[0, 1]]
    kaggle = tmp_path / "k.csv"
    kaggle.write_text(
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '1,x,y,"[""hi""]","[""abc""]","[""abcdef""]",0,1,0\n2,x,y,p,a,b,0,0,1\n'
    )
    hot = read_battles(kaggle, ["length"])
    assert list(hot.outcome) == [0, 0.5]
    assert hot.features["length"].tolist() == [[3, 6], [1, 1]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (BATTLE | {"winner": "x"}, "line 1: winner is 'x'; it must be one of model_a"),
        (BATTLE | {"winner": 1}, "line 1: winner is 1"),
        (BATTLE | {"winner": None}, "winner is missing"),
        (BATTLE | {"model_a": 7}, "model_a is 7; it must be a model's name"),
        (BATTLE | {"model_b": " "}, "model_b is ' '"),
        (BATTLE | {"first": "left"}, "first is 'left'"),
        (BATTLE | {"length_a": "nan", "length_b": 2}, "length_a is 'nan'; it must be a number from 0 up"),
        (BATTLE | {"length_a": -3, "length_b": 2}, "length_a is -3"),
        (BATTLE | {"length_a": True, "length_b": {"x": "y"}}, "length_b is {'x': 'y'}"),
        ('{"model_a": "x", "model_b": "y", "winner": NaN}', "NaN is not allowed"),
        (BATTLE | {"model_b": "x"}, "no battle of two different models"),
    ],
)
def test_a_battle_that_cannot_be_read_is_named_by_its_line(row: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_battles(lines(tmp_path / "b.jsonl", row), ["length"] if "length_a" in row else [])
    assert said in str(caught.value)


def test_missing_columns_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'winner'"):
        read_battles(lines(tmp_path / "a.jsonl", {"model_a": "x", "model_b": "y"}))
    with pytest.raises(UsageError, match="nothing to control 'length' by"):
        read_battles(lines(tmp_path / "a.jsonl", BATTLE), ["length"])
    with pytest.raises(UsageError, match="no column 'room'"):
        read_battles(lines(tmp_path / "a.jsonl", BATTLE), cluster="room")


def test_written_battles_are_read_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "sub" / "b.jsonl", [BATTLE, BATTLE | {"winner": "tie"}])
    assert list(read_battles(tmp_path / "sub" / "b.jsonl").outcome) == [1, 0.5]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_rows(tmp_path / "file" / "b.jsonl", [BATTLE])


# --- the leaderboard --------------------------------------------------------------------------------------------------


def test_the_leaderboard_says_who_is_surely_better_and_what_beta_0_is_worth() -> None:
    strengths = np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
    arena = Arena(strengths, tie=-0.5, position=0.4, style={"length": 3.0}, verbosity=-1.2 * strengths)
    board = leaderboard(
        arena.draw(5000, 1), Options(ties="davidson", controls=("length", "position"), next=5, shuffles=20)
    )
    assert [e.model for e in board.entries] == ["m04", "m03", "m02", "m01", "m00"]
    assert all(e.interval[0] < e.score < e.interval[1] for e in board.entries)
    assert all(e.rank <= i <= e.worst for i, e in enumerate(board.entries, 1))
    first, last = board.entries[0], board.entries[-1]
    assert (first.rank, last.worst) == (1, 5)
    assert first.plain is not None
    assert last.plain is not None
    assert first.plain < last.plain, "without the term the wordy weak model leads"
    assert board.outweighed is not None
    assert board.outweighed > 0.3
    assert {e.name: e.interval[0] < e.weight < e.interval[1] for e in board.effects} == {
        "length": True,
        "position": True,
    }
    assert board.first_won is not None
    assert board.first_won[1][0] > 0.5
    assert sum(n for *_, n in board.next_pairs) == 5
    document = json.loads(json.dumps(board.document()))
    assert document["models"][0]["model"] == "m04"
    assert document["tie_model"] == "davidson"


def test_an_anchor_sets_the_scale_and_ranks_do_not_follow_it() -> None:
    battles = FOUR.draw(1500, 1)
    free = leaderboard(battles, Options(shuffles=2))
    for interval in ("sandwich", "bootstrap"):
        held = leaderboard(battles, Options(anchor=("m01", 1200.0), shuffles=2, interval=interval, rounds=60))
        entry = next(e for e in held.entries if e.model == "m01")
        assert entry.score == pytest.approx(1200)
        assert entry.interval == pytest.approx((1200, 1200))
        assert [(e.model, e.rank, e.worst) for e in held.entries] == [(e.model, e.rank, e.worst) for e in free.entries]
    with pytest.raises(UsageError, match="no model 'nobody'"):
        leaderboard(battles, Options(anchor=("nobody", 1000.0)))
    with pytest.raises(UsageError, match="write sandwich or bootstrap"):
        Options(interval="guess")  # type: ignore[arg-type]


def test_two_models_no_ties_and_a_ridge_are_said() -> None:
    battles = make_battles([("x", "y")] * 5, [1, 1, 0, 1, 0])
    board = leaderboard(battles, Options(ties="davidson", ridge=0.1, balance=True, shuffles=2))
    said = " ".join(board.notes)
    for word in ("two models only", "no ties", "ridge of 0.1", "same weight", "fewer than 10 battles"):
        assert word in said
    assert board.fit.ties == "half"


def test_the_picture_is_a_png_and_names_of_any_kind_fit(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from thence.evals.arena.picture import draw

    names = ["a" * 300, "\x1b[31mred", "$\\frac{", "normal"]
    pairs = [(names[i % 4], names[(i + 1 + i // 4 % 3) % 4]) for i in range(48)]
    battles = make_battles(pairs, [(i // 12) % 2 for i in range(48)])
    path = draw(leaderboard(battles, Options(ridge=0.5, shuffles=2)), tmp_path / "deep" / "board.txt")
    assert path.name == "board.png"
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
