"""Benchmarks: what an integration costs against its true error; run ``python benchmarks``."""
