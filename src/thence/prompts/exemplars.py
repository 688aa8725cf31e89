"""Worked exemplars for few-shot prompts, by family of problem. Our own problems; the reasoning names each result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A question, a worked reply that ends with the answer after ``####``, and the answer alone."""

    question: str
    reasoning: str
    answer: str


GENERAL = (
    Exemplar(
        "A baker fills 4 trays with 6 rolls each and sells 15 rolls. How many rolls are left?",
        "The trays hold 4 * 6 = <<4*6=24>>24 rolls.\nAfter the sale 24 - 15 = <<24-15=9>>9 rolls are left.\n#### 9",
        "9",
    ),
    Exemplar(
        "Mia reads 12 pages a day. Her book has 180 pages, and she has read for 5 days. How many pages are left?",
        "In 5 days she reads 12 * 5 = <<12*5=60>>60 pages.\n"
        "There are 180 - 60 = <<180-60=120>>120 pages left.\n#### 120",
        "120",
    ),
    Exemplar(
        "Three friends share a bill of 42 dollars equally, and each adds a tip of 2 dollars. What does each one pay?",
        "Each share is 42 / 3 = <<42/3=14>>14 dollars.\nWith the tip it is 14 + 2 = <<14+2=16>>16 dollars.\n#### 16",
        "16",
    ),
    Exemplar(
        "A train leaves at 9 and arrives at 14. It stands still for 1 hour. How many hours does it move?",
        "The journey takes 14 - 9 = <<14-9=5>>5 hours.\nIt moves for 5 - 1 = <<5-1=4>>4 hours.\n#### 4",
        "4",
    ),
)

# The three families of the built-in word problems, in the words of the embedded model; their hashes put them in no
# test split.
GRAPH = (
    Exemplar(
        "Ivan has 58 plums. Emil has 26 fewer plums than Ivan. Omar has 7 more plums than Emil. "
        "How many plums does Omar have?",
        "Emil: 26 fewer than Ivan <<58-26=32>>\nOmar: 7 more than Emil <<32+7=39>>\n#### 39",
        "39",
    ),
    Exemplar(
        "Jack has 40 more cups than Eva. Carl has 25 cups. Eva has 18 more cups than Carl. "
        "How many cups does Jack have?",
        "Eva: 18 more than Carl <<25+18=43>>\nJack: 40 more than Eva <<43+40=83>>\n#### 83",
        "83",
    ),
)

APPLES = (
    Exemplar(
        "I have 15 toys, my mom has 6 more than me. How many toys does my mom have?",
        "Mom: 6 more than me <<15+6=21>>\n#### 21",
        "21",
    ),
    Exemplar(
        "I have 20 toys, my uncle has 3 times as many as me. How many do we have in total?",
        "Uncle: 3 times me <<20*3=60>>\nTotal: me and uncle <<20+60=80>>\n#### 80",
        "80",
    ),
)

LETTERS = (
    Exemplar('Take the last letters of the words in "Kim Steve" and join them.', "Kim: m\nSteve: e\n#### me", "me"),
    Exemplar('Take the last letters of the words in "Ruth Anna" and join them.', "Ruth: h\nAnna: a\n#### ha", "ha"),
)

EXEMPLARS: dict[str, tuple[Exemplar, ...]] = {"": GENERAL, "graph": GRAPH, "apples": APPLES, "letters": LETTERS}
