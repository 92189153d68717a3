"""What `import dibench` offers in scripts and notebooks; `dibench` loads each part when it is asked for.

`inputs` turns paths, frames, layers and models into what the engines take; `shown` gives a result its words,
its page and its figure; `results` are the answers; `analyse`, `acquire` and `own_code` the functions.
"""
