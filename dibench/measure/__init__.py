"""One case measured: a prepared launch and a meter in, the measured cells of a row out.

Start at `instrument`, which opens device and meter. `windows` uses a meter that is read at the edges of
windows. `metering` uses a GPU's own sensors, in visits; `visit` makes a row from the visits of a case, with
the error budget of `budget`. `calibration` finds what a GPU's sensor can resolve. `settings` say how long and
how exactly a case is measured.
"""
