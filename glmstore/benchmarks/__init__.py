"""Benchmarks: data, split, labels and metrics; one file each, found by name."""

from glmstore.benchmarks.base import Benchmark, BenchmarkData, BenchmarkSpec
from glmstore.registry import Registry

BENCHMARKS: Registry[Benchmark] = Registry("glmstore.benchmarks", Benchmark, "benchmark")

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkData", "BenchmarkSpec"]
