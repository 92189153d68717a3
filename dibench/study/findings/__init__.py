"""What the study found, as types: computed once, frozen, and only read from then on.

One module a question holds its types; nothing here computes. `plain` writes any of them as JSON's values.
"""

SCHEMA = 2
"""Of the JSON that findings are written as; a change of a key's name or meaning raises it."""
