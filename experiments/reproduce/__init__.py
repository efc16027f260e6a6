"""The paper's tables on cameras that anyone can regenerate: `python -m experiments.reproduce` (docs/reproduce.md).

config.py   what is run: cameras, grids of cells, presets     arms.py     how frames are chosen, and who pays for what
cells.py    a configuration's cells and what each one needs   work.py     footage, shared stages, one cell
queue.py    jobs side by side, resumed, with time left        results.py  rows, as CSV
cost.py     speed-ups, measured and projected                 claims.py   S1 to S6 and the goals, by rule
paper.py    the paper's figures                               page.py charts.py about.py   what people read
"""
