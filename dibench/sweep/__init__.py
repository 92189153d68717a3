"""A plan measured into a table, however often the program is killed on the way.

`run` is one command from begin to end and the way in, `job` what it is to do; `loop` hands `steps` out to the
devices of a `crew` and tells `events` to whoever watches. A device is held by a `worker`, a process that
`serve`s it, on this machine or `on_dask`, in a `cluster`. On disk are the table of `record`, the visits of
`visit_book`, the `manifest` and the `lock`; `merge` joins such `parts`. `duration` tells how long a plan will
take, `expected` how long its next case.
"""
