"""Benchmarks: escape beside what its users would write or install instead, on the same jobs in the same run."""
