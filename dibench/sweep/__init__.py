"""Measure a plan into a table, however often the program is killed on the way.

`run` is one command from begin to end and the way in, `job` says what it measures. `loop` hands `steps` to
the devices of a `crew` and tells `events` to whoever watches. A `worker` process that `serve`s holds each
device, on this machine or `on_dask` in a `cluster`. On disk are the table of `record`, the visits of
`visit_book`, the `manifest` and the `lock`. `merge` joins such `parts`. `duration` estimates how long a plan
takes, `expected` how long its next case. A run of a `campaign` sweeps what `earlier` runs left, after the
checks of `before`, whose verdicts on kernels `checked` keeps.
"""
