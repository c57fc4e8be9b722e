"""Pushes the metrics of `glmstore.metering` over OTLP/HTTP, where the environment says whereto.

Flow runs are short-lived processes, which nothing can scrape: each pushes at intervals, at the end of a flow,
and when it exits. The environment variables are OpenTelemetry's own; the one that matters is
``OTEL_EXPORTER_OTLP_ENDPOINT``, see ``infra/metrics.md``.
"""

from __future__ import annotations

import logging
import os
import uuid
import warnings
from threading import Lock
from typing import TYPE_CHECKING

from glmstore import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider

log = logging.getLogger("glmstore.exporting")

PATIENCE_S = 5.0
"""Seconds that a push takes at most where ``OTEL_EXPORTER_OTLP_TIMEOUT`` says nothing else."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_lock = Lock()
_asked = False
_provider: MeterProvider | None = None


class MetricsNotPushedWarning(UserWarning):
    """Metrics were asked for, and the packages that push them are not installed."""


def push_metrics() -> bool:
    """Begin to push this process's metrics if an OTLP endpoint is set; return whether they are pushed.

    Only the first call in a process does anything. A program that has set up OpenTelemetry itself keeps what
    it set up. ``OTEL_SDK_DISABLED=true`` and ``OTEL_METRICS_EXPORTER=none`` switch pushing off, as always.

    Warns
    -----
    MetricsNotPushedWarning
        If an endpoint is set and the packages of the extra ``service`` are missing.
    """
    global _asked, _provider  # noqa: PLW0603  (once a process)
    with _lock:
        if not _asked and _wanted():
            _provider = _set_up()
        _asked = True
        return _provider is not None


def flush_metrics() -> None:
    """Push what was counted until now; where that fails, it is logged and pushed with the next."""
    if _provider is None:
        return
    try:
        _provider.force_flush(timeout_millis=1000 * PATIENCE_S)
    except Exception as error:  # noqa: BLE001  (the SDK raises bare ones; no run fails for its metrics)
        log.warning("metrics were not pushed: %s", error)


def _wanted() -> bool:
    environment = os.environ
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = environment.get("OTEL_METRICS_EXPORTER", "").lower() == "none"
    return any(environment.get(name) for name in _ENDPOINTS) and not (off or none)


def _set_up() -> MeterProvider | None:
    from opentelemetry import metrics

    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    except ModuleNotFoundError as missing:
        warnings.warn(
            f"an OTLP endpoint is set, but metrics are not pushed: {missing.name} is not installed. Run "
            f"`pip install 'glmstore[service]'`, or unset {' and '.join(_ENDPOINTS)}.",
            MetricsNotPushedWarning,
            stacklevel=3,
        )
        return None
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return None
    # Every process counts from zero: without an id of its own, its counts would be taken for another's.
    named = {
        "service.name": "glmstore",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
    }
    resource = Resource.create(named).merge(OTELResourceDetector().detect())
    timeout = None if any(os.environ.get(name) for name in _TIMEOUTS) else PATIENCE_S
    provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(timeout=timeout))], resource)
    metrics.set_meter_provider(provider)
    return provider
