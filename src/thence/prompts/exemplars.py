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

EXEMPLARS: dict[str, tuple[Exemplar, ...]] = {"": GENERAL}
