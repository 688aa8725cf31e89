"""Perturbed word problems: instances of templates, original or varied, paired by their ids (arXiv:2410.05229).

``perturbed`` are the originals of the built-in templates, ``perturbed(variant=numbers)`` the same problems with other
numbers. The problem ``more-times-003`` is instance 3 of the template ``more-times`` in every variant, so results of two
variants can be compared in pairs; ``thence probe`` does that. What each variant changes is said in
``templates.variants``. ``file=PATH`` takes templates in the published format instead (``templates.annotated``).

An instance depends on (data_seed, template, instance) only, and its variant on these and the variant's name: more
instances or other templates change nothing in those that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from thence.core.answers import Grade, Reading
from thence.core.errors import DataError, UsageError, check_counts
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import NumericReading
from thence.grading.grade import grade_answer

from .spec import write_spec
from .templates.annotated import read_annotated, refuse
from .templates.template import built_in, render
from .templates.variants import SAME_LAW, VARIANTS, Variant, applies, draw_original, vary
from .wordproblems import WordProblem, render_solution


@dataclass(frozen=True, slots=True)
class Item:
    """One problem: its template, its question, its answer, a worked solution, and the graph where it is known."""

    id: str
    template: str
    question: str
    answer: str
    solution: str
    graph: WordProblem | None = None


class Perturbed:
    """``instances`` of every template that has the ``variant``; ``skip`` names templates of ``file`` to leave out."""

    name = "perturbed"
    default_prompt = "cot"
    has_references = True

    def __init__(
        self,
        variant: Variant = "original",
        instances: int = 5,
        data_seed: int = 0,
        file: str | None = None,
        skip: str | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise UsageError(f"perturbed: variant is {variant!r}; it must be one of {', '.join(VARIANTS)}")
        check_counts("perturbed", instances=instances)
        if skip is not None and file is None:
            raise UsageError("perturbed: skip leaves out templates of a file; give file=PATH, or leave it away")
        self.variant: Variant = variant
        self.instances, self.data_seed, self.file, self.skip = instances, data_seed, file, skip

    def of(self, variant: Variant) -> Perturbed:
        """The same instances in another variant."""
        return Perturbed(variant, self.instances, self.data_seed, self.file, self.skip)

    @property
    def same_law(self) -> tuple[Variant, ...]:
        """The variants that are draws of the originals' own law (none where the originals come from a file)."""
        return () if self.file else SAME_LAW

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        arguments = {
            "variant": None if self.variant == "original" else self.variant,
            "instances": None if self.instances == 5 else self.instances,
            "data_seed": self.data_seed or None,
            "file": self.file,
            "skip": self.skip,
        }
        return write_spec(self.name, arguments)

    @property
    def reading(self) -> Reading:
        """The number after the last marker, else the last number."""
        return NumericReading()

    @cached_property
    def items(self) -> dict[str, Item]:
        """The problems by id."""
        made = self._published() if self.file else self._built_in()
        return {item.id: item for item in made}

    def _built_in(self) -> list[Item]:
        made = []
        for template in built_in():
            if not applies(template, self.variant):
                continue
            for instance in range(self.instances):
                seed = f"perturbed-{self.data_seed}-{template.name}-{instance}"
                draw = draw_original(template, Random(seed))
                varied = vary(template, draw, self.variant, Random(f"{seed}-{self.variant}"))
                p = render(*varied, f"{template.name}-{instance:03d}")
                made.append(Item(p.id, p.template, p.question, p.answer, render_solution(p, "cot"), p))
        return made

    def _published(self) -> list[Item]:
        skipped = tuple((self.skip or "").replace("+", " ").split())
        made: list[Item] = []
        refused: list[tuple[str, str]] = []
        for template in read_annotated(str(self.file), skipped):
            try:
                template.check(self.variant)
                for instance in range(1 if self.variant == "original" else self.instances):
                    seed = f"perturbed-{self.data_seed}-{template.name}-{instance}-{self.variant}"
                    question, answer, solution = template.instance(self.variant, Random(seed))
                    made.append(Item(f"{template.name}-{instance:03d}", template.name, question, answer, solution))
            except DataError as error:
                refused.append((template.name, str(error)))
        refuse(str(self.file), refused, skipped)
        return made

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        return tuple(Problem(i.id, i.question, "graph") for i in self.items.values())

    def problems(self) -> Sequence[Problem]:
        """The questions, template by template."""
        return self._problems

    def reference(self, problem: Problem) -> str:
        """The template's answer."""
        return self.items[problem.id].answer

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(i.id, i.question, i.answer) for i in self.items.values()])

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Exact equality with the template's answer."""
        return grade_answer(self.items[problem.id].answer, answer)

    def check_references(self) -> list[tuple[str, str]]:
        """References that do not grade themselves."""
        grades = ((i.id, grade_answer(i.answer, i.answer)) for i in self.items.values())
        return [(i, g.reason) for i, g in grades if not g.correct]


def template_of(id: str) -> str:
    """The template of a problem's id: ``more-times`` of ``more-times-003``; an id without a number is its own."""
    head, dash, tail = id.rpartition("-")
    return head if dash and tail.isdecimal() else id
