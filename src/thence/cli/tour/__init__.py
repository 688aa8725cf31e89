"""The tour: what sampling, voting and confidence give, and when they do not, in eight measured steps.

A step is one entry of ``steps.STEPS``: a function that measures something on the tour's ``Bench`` and returns a
``Finding``, and its texts in every language (``cli/texts/tour.*.toml``). All steps share the samples of one run file.
"""
