"""The statistics of the study: estimates, tests, intervals, scores; nothing here knows a layer."""
