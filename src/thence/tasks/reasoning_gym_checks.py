"""How answers to the 106 procedural tasks of reasoning-gym 0.1.25 are judged, one by one.

The library gives partial credit; here an answer is right at full score only. Each scorer's source was read. Where the
full score means what it says and the answer is only parsed, the library's ``score_answer`` is called, in the killable
worker. Elsewhere there is a check of our own, or the task is refused:

* ``eval``, ``parse_expr`` or ``sympy`` on the answer, that is model text run as code: binary_matrix, countdown,
  n_queens, polynomial_multiplication, puzzle24, simple_integration, spiral_matrix, string_insertion (checked here);
  intermediate_integration (refused);
* full score for wrong answers: complex_arithmetic (``nan``), game_of_life (more cells than asked for),
  game_of_life_halting (every text counts as True), gsm_symbolic (``-5`` for 5), coin_flip (anything within .0001),
  letter_jumble and word_sorting (right words, then others), number_sorting (numbers off by one), polynomial_equations
  (anything where there is no solution; texts between the numbers), puzzle24 (other numbers than those given),
  figlet_font (ten right letters);
* exact equality is all that full score means: compared here, without the library.

Kept as published: the tolerances of advanced_geometry (two or three decimals), decimal_arithmetic (one unit of the last
decimal), number_format (.01), pool_matrix (1 %) and power_function (three significant figures); in
propositional_logic any conclusion that follows and is neither a bare variable nor always true, a premise too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Any

from thence.grading.numbers import parse_number

from .polynomials import Polynomial, read_polynomial
from .rounding import grade_number
from .target_numbers import grade_expression
from .wordproblems import words

VERSION = "0.1.25"
MAX_CHARS = 20_000  # of an answer; a longer one is wrong


class How(StrEnum):
    """Who judges an answer."""

    TEXT = "text"  # the same characters, blanks around and at line ends aside
    OWN = "own"  # a check of this file
    SCORER = "scorer"  # the library's score_answer, in the worker, at full score
    REFUSED = "refused"


Entry = Mapping[str, Any]
Check = Callable[[str, Entry], bool]


TEXT = words(
    "ab acre aiw arc_1d base_conversion basic_arithmetic bf binary_alternation binary_matrix caesar_cipher "
    "circuit_logic count_bits count_primes course_schedule emoji_mystery gcd isomorphic_strings largest_island lcm "
    "leg_counting letter_counting list_functions mahjong_puzzle maze modulo_grid number_filtering number_sequence "
    "ransom_note rotate_matrix rotten_oranges self_reference simple_equations simple_geometry spiral_matrix "
    "string_insertion string_manipulation string_splitting string_synthesis syllogism word_sequence_reversal"
)
SCORER = words(
    "advanced_geometry arc_agi bitwise_arithmetic boxnet calendar_arithmetic chain_sum codeio color_cube_rotation "
    "cryptarithm decimal_arithmetic decimal_chain_sum dice family_relationships fraction_simplification futoshiki "
    "graph_color group_anagrams jugs kakurasu knight_swap knights_knaves manipulate_matrix mini_sudoku "
    "needle_haystack number_format palindrome_generation palindrome_partitioning path_star pool_matrix "
    "power_function prime_factorization products propositional_logic quantum_lock rearc rectangle_count rubiks_cube "
    "rush_hour shortest_path sokoban sudoku survo time_intervals tower_of_hanoi tsumego word_ladder zebra_puzzles"
)
REFUSED = {
    "composite": "it mixes other tasks by a configuration of its own; name one of them",
    "intermediate_integration": "its scorer parses the answer with sympy.parse_expr, which runs it as code, and any "
    "antiderivative counts, so that equality with the reference would not do",
}


def same_text(answer: str, reference: str) -> bool:
    """Equal, blanks around and at line ends aside."""
    return plain(answer) == plain(reference)


def plain(text: str) -> str:
    """A text without blanks around it and at its line ends."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _words(answer: str, entry: Entry) -> bool:
    return answer.casefold().split() == str(entry["answer"]).casefold().split()


def _listed(answer: str, entry: Entry) -> bool:
    return [word.strip() for word in answer.split(",")] == list(entry["metadata"]["sorted_words"])


def _board(answer: str, entry: Entry) -> bool:
    return any(same_text(answer, board) for board in entry["metadata"]["valid_answers"])


def _truth(answer: str, entry: Entry) -> bool:
    return answer.strip().strip(".").lower() == str(entry["answer"]).lower()


def _number(answer: str, entry: Entry) -> bool:
    return grade_number(_read(str(entry["answer"])), answer).correct


def _probability(answer: str, entry: Entry) -> bool:
    exact = entry["metadata"]["rational"]
    return grade_number(Fraction(exact["numerator"], exact["denominator"]), answer).correct


def _expression(answer: str, entry: Entry) -> bool:
    metadata = entry["metadata"]
    return grade_expression(metadata["numbers"], metadata.get("target", 24), answer.split("=")[0]).correct


def _cells(answer: str, entry: Entry) -> bool:
    return bool(_json(answer) == json.loads(entry["answer"]))


def _sorted_numbers(answer: str, entry: Entry) -> bool:
    return _values(answer) == _values(",".join(map(str, entry["metadata"]["sorted_numbers"])))


def _solutions(answer: str, entry: Entry) -> bool:
    return sorted(_values(answer)) == sorted(_values(str(entry["answer"])))


def _complex(answer: str, entry: Entry) -> bool:
    return read_complex(answer) == read_complex(str(entry["answer"]))


def _product(answer: str, entry: Entry) -> bool:
    return _poly(answer) == _poly(str(entry["answer"]))


def _antiderivative(answer: str, entry: Entry) -> bool:
    """The derivative by the variable is the integrand; other letters (C) are constants."""
    variable = str(entry["metadata"]["variable"])
    return _poly(answer).derivative(variable) == _poly(str(entry["metadata"]["integrand"]))


OWN: dict[str, Check] = {
    "coin_flip": _probability,
    "complex_arithmetic": _complex,
    "countdown": _expression,
    "figlet_font": _words,
    "game_of_life": _cells,
    "game_of_life_halting": _truth,
    "gsm_symbolic": _number,
    "letter_jumble": _words,
    "n_queens": _board,
    "number_sorting": _sorted_numbers,
    "polynomial_equations": _solutions,
    "polynomial_multiplication": _product,
    "puzzle24": _expression,
    "sentence_reordering": _words,
    "simple_integration": _antiderivative,
    "spell_backward": _words,
    "word_sorting": _listed,
}


def how(name: str) -> How:
    """Who judges the answers of a task; KeyError for a name that is none."""
    for kind, names in ((How.TEXT, TEXT), (How.OWN, OWN), (How.SCORER, SCORER), (How.REFUSED, REFUSED)):
        if name in names:
            return kind
    raise KeyError(name)


def judge(name: str, answer: str, entry: Entry) -> tuple[bool, str]:
    """Whether an answer to a task of kind TEXT or OWN is right, and why it cannot be read if so."""
    if len(answer) > MAX_CHARS:
        return False, f"the answer has more than {MAX_CHARS:,} characters"
    if name in TEXT:
        return same_text(answer, str(entry["answer"])), ""
    try:
        return OWN[name](answer, entry), ""
    except (ValueError, RecursionError) as error:
        return False, str(error)


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(text: str) -> Fraction:
    number = parse_number(text)
    if number is None or number.value is None:
        raise ValueError("it is no number")
    return number.value


def _values(text: str) -> list[Fraction]:
    """The numbers of a list, with or without brackets and quotes; ValueError for anything else between commas."""
    inner = text.strip().removeprefix("[").removesuffix("]").strip()
    return [_read(part.strip().strip("'\"")) for part in inner.split(",")] if inner else []


def _json(text: str) -> Any:
    value = json.loads(text, parse_constant=lambda name: ValueError(name))
    return value if not isinstance(value, float) else Fraction(value)


def _poly(text: str) -> Polynomial:
    return read_polynomial(text)


_PART = r"(?:\d+(?:\.\d+)?)"
_COMPLEX = re.compile(
    rf"(?P<real>[+-]?{_PART})?(?:(?P<sign>[+-])?(?P<imaginary>{_PART})?[ij])|(?P<whole>[+-]?{_PART})", re.ASCII
)


def read_complex(text: str) -> tuple[Fraction, Fraction]:
    """Real and imaginary part of ``-15.0 + 3.0i``; ValueError for anything else."""
    packed = re.sub(r"\s*([+-])\s*", r"\1", text[:200].strip().lower().replace("−", "-"))
    while packed.startswith("(") and packed.endswith(")"):
        packed = packed[1:-1].strip()
    match = _COMPLEX.fullmatch(packed) if len(packed) <= 100 else None
    if match is None:
        raise ValueError("it is no complex number")
    real, sign, imaginary, whole = match["real"], match["sign"] or "", match["imaginary"], match["whole"]
    if whole is not None:
        return Fraction(whole), Fraction(0)
    if real is not None and not sign:  # ``-2.5i``: what looked like a real part was the imaginary one
        if imaginary is not None:
            raise ValueError("it is no complex number")
        return Fraction(0), Fraction(real)
    return Fraction(real or 0), Fraction(f"{sign}{imaginary or 1}")


__all__ = ["OWN", "REFUSED", "SCORER", "TEXT", "VERSION", "How", "how", "judge", "plain", "same_text"]
