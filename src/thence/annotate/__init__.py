"""Step labels without people: solutions in, labelled steps out."""
