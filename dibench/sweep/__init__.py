"""Measure a plan into a table, however often the program is killed on the way.

Start at `run`, one command from begin to end; `job` says what it measures. `loop` hands `steps` to the
devices of a `crew` and reports `events`. Each device is held by a `worker` process, which runs `serve`, on
this machine or `on_dask` in a `cluster`. On disk are the rows of `record`, the visits of `visit_book`, the
`manifest` and the `lock`. `duration` estimates how long a plan or its next case takes. `merge` joins
`parts`, sweeps read whole. A run of a `campaign` sweeps what `earlier_runs` left, after the checks of
`preflight`; `selftest_verdicts` keeps what these found of the kernels.
"""
