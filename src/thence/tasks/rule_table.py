"""Word problems whose last operation is a rule that stands in documents only.

"Ann has 12 apples. Then Ann visits Page. How many apples does Ann have now?" Nobody can say without the rule of Page
for apples. A table of rules, one for each host and item, is drawn with the problems:

* "Page gives 7 apples to each person."      12+7=19
* "Page takes 4 apples from each person."    12-4=8
* "Page gives 3 apples for each one."        12*3=36

Only half of the hosts are visited. So there are three collections of the same kind: the whole table (a hit), the rules
of hosts that no question visits (a miss: the same items, the same sentences, the wrong rules), and any rules drawn at
random.

The name of a host says nothing: a table of another ``data_seed`` has other rules for the same hosts. A model cannot
have learnt them; it can only have learnt to read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from .wordproblems import (
    ITEMS,
    LARGEST,
    MAX_LEVEL,
    SHUFFLED,
    SPLITS,
    WORDS,
    Graph,
    Mix,
    Node,
    Step,
    WordProblem,
    distinct,
    draw_graph,
    question_split,
)

HOSTS = WORDS


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to ``item`` at a visit to ``host``: ``sign`` is +, - or *."""

    host: str
    item: str
    sign: str
    amount: int

    @property
    def text(self) -> str:
        """The sentence of the document."""
        if self.sign == "*":
            return f"{self.host} gives {self.amount} {self.item} for each one."
        done, whom = ("gives", "to") if self.sign == "+" else ("takes", "from")
        return f"{self.host} {done} {self.amount} {self.item} {whom} each person."

    def step(self, visitor: str, value: int) -> Step:
        """The operation on ``value``, as a solution writes it."""
        told = {"+": f"gets {self.amount}", "-": f"gives {self.amount}", "*": f"gets {self.amount} for each"}
        results = {"+": value + self.amount, "-": value - self.amount, "*": value * self.amount}
        operands = (str(value), str(self.amount))
        return Step(visitor, told[self.sign], self.sign, operands, str(results[self.sign]))


def draw_rule(rng: Random, host: str, item: str) -> Rule:
    """A rule: +2 to +40, -2 to -20, or times 2 to 6."""
    sign = rng.choices("+-*", (4, 3, 3))[0]
    return Rule(host, item, sign, rng.randint(2, {"+": 40, "-": 20, "*": 6}[sign]))


def draw_table(seed: int) -> dict[tuple[str, str], Rule]:
    """One rule for each (host, item)."""
    rng = Random(f"rule-table-{seed}")
    return {(host, item): draw_rule(rng, host, item) for host in HOSTS for item in ITEMS}


class _Visit(Graph):
    """A graph whose last operation is the rule of one of the ``hosts``; ``rule_of`` gives it."""

    def __init__(
        self, rng: Random, ops: int, largest: int, *, hosts: Sequence[str], rule_of: Callable[[str, str], Rule]
    ) -> None:
        self.hosts, self.rule_of = hosts, rule_of
        super().__init__(rng, ops, largest)

    def _draw(self, ops: int) -> None:
        owner = self._person(ops - 1)
        rule = self.rule_of(self.rng.choice(self.hosts), self.item)
        step = rule.step(owner.name, owner.value)
        self.closing = f"Then {owner.name} visits {rule.host}."
        self.question = f"How many {self.item} does {owner.name} have now?"
        self._add(Node(owner.name, int(step.result), "", step))


def draw_visit(
    rng: Random,
    level: int,
    split: str,
    id: str,
    mix: Mix,
    rule_of: Callable[[str, str], Rule],
    hosts: Sequence[str] = HOSTS,
) -> tuple[WordProblem, Rule]:
    """A problem of ``level`` operations, the rule's included, whose question's hash falls into the split; its rule."""
    told: list[Rule] = []

    def remembered(host: str, item: str) -> Rule:
        told.append(rule_of(host, item))
        return told[-1]

    visit = partial(_Visit, hosts=hosts, rule_of=remembered)
    while True:
        question, answer, steps, unneeded, template = draw_graph(rng, level, mix, visit)
        if question_split(question) == split:
            problem = WordProblem(id, "graph", level, f"{template}+rule", question, answer, steps, unneeded)
            return problem, told[-1]


@dataclass(frozen=True, slots=True)
class RuleTable:
    """A table of rules and a fixed set of ``size`` problems about it; a larger ``size`` extends a smaller one."""

    level: int = 2
    split: str = "test"
    data_seed: int = 0
    size: int = 500

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"rule-table: split {self.split!r} is not one of {', '.join(SPLITS)}")
        if not 1 <= self.level <= MAX_LEVEL:
            raise ValueError(f"rule-table: level {self.level} is not between 1 and {MAX_LEVEL}")
        if self.size < 1:
            raise ValueError(f"rule-table: size {self.size} is not a positive number of problems")

    @property
    def rules(self) -> dict[tuple[str, str], Rule]:
        """All rules by (host, item)."""
        return draw_table(self.data_seed)

    @property
    def visited(self) -> tuple[str, ...]:
        """The half of the hosts that questions name."""
        return tuple(sorted(Random(f"rule-table-hosts-{self.data_seed}").sample(HOSTS, len(HOSTS) // 2)))

    def documents(self, *, visited: bool = True) -> list[str]:
        """The rules as sentences, in a random order; without ``visited`` only those that no question needs."""
        asked = () if visited else self.visited
        texts = [rule.text for rule in self.rules.values() if rule.host not in asked]
        Random(f"rule-table-order-{self.data_seed}").shuffle(texts)
        return texts

    def items(self) -> Sequence[WordProblem]:
        """The problems, in a fixed order, no question twice; ValueError if there are fewer than ``size``."""
        rules, hosts, mix = self.rules, self.visited, Mix(LARGEST, SHUFFLED, 0.0)

        def draw(rng: Random, id: str) -> WordProblem:
            return draw_visit(rng, self.level, self.split, id, mix, lambda host, item: rules[host, item], hosts)[0]

        return distinct(f"rule-table-{self.level}-{self.split}-{self.data_seed}", self.size, draw)


def beside(rng: Random, rule: Rule, most: int = 4) -> list[Rule]:
    """``rule`` among up to ``most`` - 1 others in a random order: of the same host or item, or of neither; freshly
    drawn, so that only reading helps."""
    shown = {(rule.host, rule.item): rule}
    for _ in range(rng.randint(0, most - 1)):
        kind = rng.choice(("host", "item", "item", "neither"))
        host = rule.host if kind == "host" else rng.choice(HOSTS)
        item = rule.item if kind == "item" else rng.choice(ITEMS)
        shown.setdefault((host, item), draw_rule(rng, host, item))
    rules = list(shown.values())
    rng.shuffle(rules)
    return rules
