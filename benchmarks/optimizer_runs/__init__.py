"""Parts of `benchmarks/optimizers.py`: subjects, contenders, measures, tables."""
