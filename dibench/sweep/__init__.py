"""A plan measured into a table, however often the program is killed on the way.

`run` is one command from begin to end and the way in, `job` what it is to do; `loop` hands `steps` out to the
devices of a `crew`, each of them a `worker`'s process, here or on a `cluster`, and tells `events` to whoever
watches. On disk are the table of `record`, the visits of `visit_book`, the `manifest` and the `lock`; `merge`
joins such `parts`.
`duration` says how long a plan will take, `expected` how long its next case.
"""
