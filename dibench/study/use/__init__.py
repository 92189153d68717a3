"""What a fit is used for: predict, explain, compare."""
