"""Rows: measures one kind of scene each.

Each module holds the rows of one kind, as functions that take a `scene` (environment, book, rounds,
contenders) and whose docstring is printed as the row begins. A row sets up its rigs, warms them up, and in
each round measures one contender after the other, so that a slower hour of the machine meets all.

What must stay true: a row waits until everything that it sent has arrived before it stops the clock;
figures that are compared come from the same run.

Rows do not judge: the targets stand in `bench.report.targets`.
"""
