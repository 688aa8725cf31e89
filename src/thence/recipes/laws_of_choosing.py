"""Rows of ``thence laws`` for votes that stop when they are certified, and for a model that chooses among samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from thence.core.contests import JUDGE
from thence.core.search import Result
from thence.core.seeds import derive
from thence.evals.statistics.metrics import maj_at_k_population
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.strategies.adaptive_consistency import AdaptiveConsistency
from thence.strategies.certified import Certified
from thence.strategies.universal import UniversalSelfConsistency
from thence.worlds import Stratum, Urn, World
from thence.worlds.stopping import beta_stops, certified_stops

from .law_rows import Bench, Rows, chances, draws, mean, right

_RESPONSES = re.compile(r"\n\nResponse \d+:\n")


async def certificates(bench: Bench) -> Rows:
    """What a stopping rule settles on, for a clear law and for a close one."""
    clear, close = (0.7, 0.2, 0.1), (0.52, 0.48)
    world, n, alpha = urn(clear, bench.size(150)), 16, 0.1
    exact, made = certified_stops(clear, n, alpha), await bench.results(world, Certified(alpha, n, ahead=0))
    seen = [is_certified(r) and ok for r, ok in zip(made, right(world, made), strict=True)]
    yield chances("certified at .1, and right", "urn", "2510.17472", seen, [exact.on[0]] * world.size)
    yield mean("certified at .1, samples", "urn", "2510.17472", [draws(r) for r in made], exact.draws)
    world = urn(close, bench.size(100))
    made = await bench.results(world, Certified(0.2, 40, ahead=0))
    seen = [is_certified(r) and not ok for r, ok in zip(made, right(world, made), strict=True)]
    off = certified_stops(close, 40, 0.2).off_mode(close)
    yield chances("certified at .2 and no mode, .52 .48", "urn", "2510.17472", seen, [off] * world.size)
    made = await bench.results(world, AdaptiveConsistency(41, ahead=0))  # what stops at 40 has stopped before 41
    seen = [draws(r) <= 40 and not ok for r, ok in zip(made, right(world, made), strict=True)]
    off = beta_stops(close, 40).off_mode(close)
    yield chances("the Beta rule stops on no mode, .52 .48", "urn", "2305.11860", seen, [off] * world.size)


async def choosing(bench: Bench) -> Rows:
    """Universal self-consistency with judges that see which answer is the most frequent, or look at places only."""
    law, n = (0.5, 0.3, 0.2), 4
    world = urn(law, bench.size(150))
    vote, single = maj_at_k_population(law, [True, False, False], n), law[0]
    for name, first, orders, expected in (
        ("a judge that sees: the vote", 0.0, 1, vote),
        ("first place with .4: .6 vote + .4 sample", 0.4, 1, 0.6 * vote + 0.4 * single),
        ("always first place, 1 order: a sample", 1.0, 1, single),
        ("always first place, n orders: the vote", 1.0, n, vote),
    ):
        made = await bench.results(world, UniversalSelfConsistency(n, orders), roles={JUDGE: judging(world, first)})
        yield chances(name, "urn", "2311.17311", right(world, made), [expected] * world.size)


def urn(law: Sequence[float], size: int) -> Urn:
    """Problems of one law, the right answer first."""
    return Urn((Stratum("all", tuple(law)),), size=size)


def is_certified(result: Result) -> bool:
    """Whether a vote stopped with a certificate."""
    return any(note.startswith("certified") for note in result.notes)


def judging(world: World, first: float = 0.0) -> ScriptedGenerator:
    """A judge that names the first response with the chance ``first``, else one of the most frequent answer."""
    reading = world.task().reading

    def write(cue: Cue) -> str:
        read = [reading.extract(text) for text in _RESPONSES.split(cue.question)[1:]]
        keys = [reading.key(answer.value) if answer is not None else "" for answer in read]
        counts = Counter(keys)
        tied = [key for key, count in counts.items() if count == max(counts.values())]
        chosen = min(tied, key=lambda key: derive("judged", cue.seed, key))
        place = 0 if derive("placed", cue.seed) < first * 2**63 else keys.index(chosen)
        return f"The most consistent response is Response {place + 1}."

    return ScriptedGenerator(write, pace=0)


CHOOSING = (certificates, choosing)

__all__ = ["CHOOSING", "judging"]
