"""Variants of a template's instance: what is changed, and what stays the same.

Every variant of an instance is paired with its original: it keeps everything that its name does not change.

========= ============================================================ ==========
variant   what is changed                                              same law
========= ============================================================ ==========
original  nothing
names     other names                                                  yes
items     other items and relatives                                    yes
numbers   other numbers                                                yes
both      other names and other numbers                                yes
relations more and fewer, twice and half exchanged                     yes
order     the statements in another order (events and question last)   no
noop      a sentence more that the answer does not depend on           no
m1        one operation less: a clause removed                         no
p1, p2    one, two operations more: clauses added                      no
========= ============================================================ ==========

"Same law": original and variant are two draws of one distribution, exchangeable for everyone who has seen neither. Only
these can show that the originals were seen; the others may be harder or easier for an honest solver.

That a ``noop`` sentence does not matter is proved, not hoped: the quantity that it states is outside the answer's
dependencies (``template.needed``). Its type is one of: another person's things, another person's things relative to
somebody, other things of somebody.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Literal, get_args

from thence.core.errors import DataError

from .expressions import names
from .template import (
    NAME,
    TRIES,
    Clause,
    Draw,
    Template,
    draw_numbers,
    draw_words,
    needed,
    numeric,
    operations,
    program,
    quantities,
    relational,
    word_slots,
)

Variant = Literal["original", "names", "numbers", "both", "items", "relations", "order", "noop", "m1", "p1", "p2"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
SAME_LAW: tuple[Variant, ...] = ("names", "numbers", "both", "items", "relations")

_LEAF = "{%s} has {%s} {item}."


def applies(template: Template, variant: str) -> bool:
    """Whether the template has this variant: m1 needs an operation to spare, order two statements to exchange, …"""
    if variant == "names":
        return any(NAME.fullmatch(slot) for slot in word_slots(template))
    if variant == "items":
        return any(not NAME.fullmatch(slot) for slot in word_slots(template))
    if variant == "relations":
        return bool(relational(template))
    if variant == "order":
        return len(_movable(template)) > 1
    if variant == "noop":
        return bool(_kinds(template))
    if variant == "m1":
        return shorter(template) is not None
    if variant in ("p1", "p2"):
        return bool(_leaves(template))
    return variant in VARIANTS


def draw_original(template: Template, rng: Random) -> Draw:
    """An instance: words, relations, and numbers that hold with these relations, with the opposite ones, and in m1."""
    words = draw_words(template, rng, {}, {})
    relations = {r: rng.randint(0, 1) for r in relational(template)}
    plain = Draw(words, {}, relations)
    return replace(plain, numbers=_fitting(template, rng, plain))


def vary(template: Template, draw: Draw, variant: str, rng: Random) -> tuple[Template, Draw]:
    """The variant of an instance; it must apply to the template."""
    return _MAKERS[variant](template, draw, rng)


def _fitting(template: Template, rng: Random, draw: Draw) -> dict[str, int]:
    """Numbers under the conditions of all variants that keep them; not those of ``draw``."""
    less = shorter(template)
    forms = [t for t in (template, less) if t is not None]
    both = (draw, replace(draw, relations=_opposite(draw)))
    for _ in range(TRIES):
        numbers = draw_numbers(template, rng)
        if numbers != draw.numbers and all(
            quantities(form, replace(drawn, numbers=numbers)) is not None for form in forms for drawn in both
        ):
            return numbers
    raise DataError(f"template {template.name}: none of {TRIES} draws of numbers satisfies its conditions; widen them")


def _opposite(draw: Draw) -> dict[str, int]:
    return {r: 1 - place for r, place in draw.relations.items()}


# --- words and numbers -----------------------------------------------------------------------------------------------


def _original(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    return template, draw


def _names(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    kept = {slot: word for slot, word in draw.words.items() if not NAME.fullmatch(slot)}
    return template, replace(draw, words=draw_words(template, rng, kept, draw.words))


def _items(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    kept = {slot: word for slot, word in draw.words.items() if NAME.fullmatch(slot)}
    return template, replace(draw, words=draw_words(template, rng, kept, draw.words))


def _numbers(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    return template, replace(draw, numbers=_fitting(template, rng, draw))


def _both(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    return _numbers(*_names(template, draw, rng), rng)


def _relations(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    return template, replace(draw, relations=_opposite(draw))


# --- sentences -------------------------------------------------------------------------------------------------------


def _movable(template: Template) -> list[int]:
    return [i for i, clause in enumerate(template.clauses) if not clause.last]


def _fixed(template: Template) -> list[int]:
    return [i for i, clause in enumerate(template.clauses) if clause.last]


def _order(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    plain = _movable(template)
    moved = plain[:]
    while moved == plain:
        rng.shuffle(moved)
    return replace(template, order=(*moved, *_fixed(template))), draw


def _people(template: Template) -> list[str]:
    return [s for s in word_slots(template) if NAME.fullmatch(s) and any(q == s for q, _, _ in template.states)]


def _owners(template: Template) -> list[str]:
    """People of whom a sentence says how many of the items they have."""
    texts = [clause.text for clause in template.clauses if "{item}" in clause.text]
    return [s for s in _people(template) if any(text.startswith(f"{{{s}}} has ") for text in texts)]


def _kinds(template: Template) -> list[str]:
    """The types of irrelevant sentence that leave the question unambiguous: it must say whose things it asks for."""
    asked = template.question.text
    if "item" not in template.slots or not (re.search(r"\{[A-H]\}", asked) or " we " in asked or " my " in asked):
        return []
    property_ = ["property"] if _people(template) and "{item}" in asked else []
    return ["entity", *property_, *(["relation"] if _owners(template) else [])]


def _noop(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    kind = rng.choice(_kinds(template))
    if kind == "entity":
        clause = Clause(_LEAF % ("H9", "x9"), (("H9", "x9"),))
    elif kind == "property":
        who = rng.choice(_people(template))
        clause = Clause(f"{{{who}}} has {{x9}} {{other9}}.", ((f"{who}_other", "x9"),))
    else:
        who = rng.choice(_owners(template))
        short = f"{{k9}} more than {{{who}}}"
        clause = Clause(f"{{H9}} has {{k9}} more {{item}} than {{{who}}}.", (("H9", f"{who} + k9"),), short)
    made = replace(template, clauses=(*template.clauses, clause))
    outside(made, clause)
    plain = _movable(template)
    plain.insert(rng.randint(1, len(plain)), len(template.clauses))
    made = replace(made, order=(*plain, *_fixed(template)))
    return made, _extended(made, draw, rng)


def outside(template: Template, clause: Clause) -> None:
    """Proof that nothing the clause states is among the answer's dependencies; DataError where it is."""
    inside = sorted({quantity for quantity, _ in clause.states} & needed(template))
    if inside:
        raise DataError(
            f"template {template.name}: the answer depends on {inside[0]}, so its sentence is no distraction"
        )


def _leaves(template: Template) -> list[int]:
    """Statements that give a person a number in the plain words that a relation can replace."""
    return [
        i
        for i, clause in enumerate(template.clauses)
        if len(clause.states) == 1 and clause.text == _LEAF % clause.states[0] and not clause.last
    ]


def _longer(template: Template, draw: Draw, rng: Random, mark: int) -> tuple[Template, Draw]:
    """One operation more: somebody's number becomes a relation to somebody new, who owns that number."""
    at = rng.choice(_leaves(template))
    who, variable = template.clauses[at].states[0]
    new, k, r = f"G{mark}", f"k{mark}", f"r{mark}"
    leaf = Clause(_LEAF % (new, variable), ((new, variable),))
    relation = Clause(
        f"{{{who}}} has {{{k}}} {{{r}}} {{item}} than {{{new}}}.",
        ((who, f"{new} {{{r}}} {k}"),),
        f"{{{k}}} {{{r}}} than {{{new}}}",
    )
    made = replace(template, clauses=(*template.clauses[:at], leaf, relation, *template.clauses[at + 1 :]))
    return made, _extended(made, draw, rng)


def _p1(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    return _longer(template, draw, rng, 1)


def _p2(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    return _longer(*_longer(template, draw, rng, 1), rng, 2)


def _extended(template: Template, draw: Draw, rng: Random) -> Draw:
    """The draw with values for slots that are new, such that the conditions hold."""
    words = draw_words(template, rng, draw.words, {})
    new = [r for r in relational(template) if r not in draw.relations]
    for _ in range(TRIES):
        numbers = draw_numbers(template, rng) | dict(draw.numbers)
        relations = {**draw.relations, **{r: rng.randint(0, 1) for r in new}}
        made = Draw(words, numbers, relations)
        if quantities(template, made) is not None:
            return made
    raise DataError(f"template {template.name}: no number fits the added sentence in {TRIES} draws")


def shorter(template: Template) -> Template | None:
    """The template with exactly one operation less, or None; tried in this order:

    a relation to somebody who is in no other sentence goes, and the other gets the number; instead of a total or a
    difference one of the two is asked for; what happened then did not happen.
    """
    size = operations(template)
    if size < 2:
        return None
    candidates = [*_without_relation(template), *_one_of_two(template), *_without_event(template)]
    return next((t for t in map(_pruned, candidates) if operations(t) == size - 1), None)


def _without_relation(template: Template) -> list[Template]:
    found = []
    for at in _leaves(template):
        who, variable = template.clauses[at].states[0]
        users = [i for i, c in enumerate(template.clauses) if i != at and f"{{{who}}}" in c.text]
        asked = f"{{{who}}}" in template.question.text or any(who in condition for condition in template.where)
        if len(users) != 1 or asked or len(template.clauses[users[0]].states) != 1:
            continue
        other, source = template.clauses[users[0]].states[0]
        if names(program(source)) & {q for q, _, _ in template.states} != {who} or template.clauses[users[0]].last:
            continue
        clauses = list(template.clauses)
        clauses[users[0]] = Clause(_LEAF % (other, variable), ((other, variable),))
        del clauses[at]
        found.append(replace(template, clauses=tuple(clauses)))
    return found


def _asking(template: Template, who: str) -> Template:
    question = Clause(f"How many {{item}} does {{{who}}} have?", ((who, ""),))
    return replace(template, question=question)


def _one_of_two(template: Template) -> list[Template]:
    if template.answer not in ("Total", "Difference"):
        return []
    both = names(program(dict(template.question.states)[template.answer]))
    return [_asking(template, who) for who in sorted(both, reverse=True) if NAME.fullmatch(who)]


def _without_event(template: Template) -> list[Template]:
    who = template.answer.partition("_")[0]
    kept = tuple(c for c in template.clauses if not c.last)
    if who == template.answer or not NAME.fullmatch(who) or len(kept) != len(template.clauses) - 1:
        return []
    return [_asking(replace(template, clauses=kept), who)]


def _pruned(template: Template) -> Template:
    """Without sentences and conditions that the answer does not need any more."""
    used = needed(template)
    clauses = tuple(c for c in template.clauses if any(q in used for q, _ in c.states))
    there = {q for c in clauses for q, _ in c.states} | used
    return replace(template, clauses=clauses, where=tuple(w for w in template.where if names(program(w)) <= there))


def _m1(template: Template, draw: Draw, rng: Random) -> tuple[Template, Draw]:
    less = shorter(template)
    if less is None:
        raise DataError(f"template {template.name} has no operation to spare; it has no m1 variant")
    return less, replace(draw, numbers={v: n for v, n in draw.numbers.items() if v in numeric(less)})


_MAKERS: dict[str, Callable[[Template, Draw, Random], tuple[Template, Draw]]] = {
    "original": _original,
    "names": _names,
    "numbers": _numbers,
    "both": _both,
    "items": _items,
    "relations": _relations,
    "order": _order,
    "noop": _noop,
    "m1": _m1,
    "p1": _p1,
    "p2": _p2,
}
