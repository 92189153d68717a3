"""What people are told: blocks of findings, built by one module per question, for terminal and page.

`blocks` says what there is to show, `terminal` and `html` render it; `page` puts the report together. `svg`
turns Matplotlib's figures into parts of the page.
"""
