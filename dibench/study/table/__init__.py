"""From a table to the rows of a fit: which rows count, which kernel stands for an operator."""
