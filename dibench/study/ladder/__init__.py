"""The ladder of models: MACs, time, AI and DI fitted, tested, held out and judged."""
