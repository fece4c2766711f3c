"""The energy a run took: an estimate by codecarbon, and called so."""

import logging
from types import TracebackType
from typing import Any, Self


class EnergyMeter:
    """Counts watt-hours between enter and exit; None where codecarbon is not installed.

    Without a power sensor codecarbon estimates from the processor's name and load, so the figure is an estimate.
    """

    def __init__(self) -> None:
        self.watt_hours: float | None = None
        self._tracker: Any = None

    def __enter__(self) -> Self:
        try:
            from codecarbon import OfflineEmissionsTracker
        except ImportError:
            return self
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # before it begins to talk about itself
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="DEU", output_methods=[], log_level="critical", measure_power_secs=15, allow_multiple_runs=True
        )
        self._tracker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tracker is not None:
            self._tracker.stop()
            measured = getattr(self._tracker, "final_emissions_data", None)  # missing where it found nothing to measure
            self.watt_hours = None if measured is None else float(measured.energy_consumed) * 1000
