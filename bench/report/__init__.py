"""Report: collects values and writes them down, beside the targets.

The order of things: rows add to the book of `results`; `targets` lists the figures and what is to be
reached; `documents` writes the tables and the JSON, with a `picture` of bars, and puts them into
docs/performance.md.

What must stay true: the median counts, and the lowest and highest value are shown beside it; a missed
target is said to be missed.

It runs nothing.
"""
