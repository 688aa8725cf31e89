"""Small worlds of exactly known truth: generator, task and verifier in one.

A claim about sampling, voting, verifying, labelling or searching is tested here first, against its closed form::

    world = Chain(steps=6, size=50)
    problem = world.problem(0)
    result = await solve(
        problem,
        generator=world.generator(),
        strategy=BestOfN(world.verifier(Meaning.PREFIX_VALID), n=8),
        style=Bare(),
        reading=world.task().reading,
    )
    truth = world.value(problem, "state a\\n")  # the chance that this beginning ends in the right answer

| world | what it is for |
|---|---|
| ``Chain`` | steps that slip, recover or fail: values, validity, lucky answers, Monte-Carlo labels |
| ``Branches`` | random trees with priors and right leaves: beam search, tree search, over-optimisation |
| ``Urn`` | answer laws by stratum (easy, medium, hard, trap) or Beta-distributed: votes, coverage, early stopping |
| ``Revision`` | answers that are reviewed and revised: chains that mend and spoil, critics that flag |
| ``Table`` | a language model given as a table: greedy decoding against the marginal answer |

``laws`` holds the closed forms that need no world.
"""

from .branches import Branches
from .chain import Chain, State
from .generator import WorldGenerator
from .oracle import Oracle
from .revision import Revision
from .table import Table
from .task import WorldTask
from .urn import Beta, Stratum, Urn
from .world import At, Moves, Place, World

__all__ = [
    "At",
    "Beta",
    "Branches",
    "Chain",
    "Moves",
    "Oracle",
    "Place",
    "Revision",
    "State",
    "Stratum",
    "Table",
    "Urn",
    "World",
    "WorldGenerator",
    "WorldTask",
]
