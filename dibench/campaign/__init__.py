"""What a campaign measures, in which order, and what earlier runs of it have measured.

Begin with `stages`, which reads what there is to measure; `plan` makes one order of what is left of it after
`earlier` runs; `kernels` compiles all of it beforehand.
"""
