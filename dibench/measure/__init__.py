"""One case measured: a prepared launch and a meter in, the measured cells of a row out.

`instrument` opens device and meter and is the way in. A meter that is read at the edges of windows is used by
`windows`; a GPU's own sensors are used by `visits`, of which `stays` makes a row with the error budget of
`budget`. `calibration` finds what a GPU's sensor can resolve; `settings` say how long and how exactly.
"""
