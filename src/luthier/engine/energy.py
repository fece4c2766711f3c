"""The energy a run took: an estimate by codecarbon, and called so."""

import logging
from types import TracebackType
from typing import Any, Self


class EnergyMeter:
    """Counts watt-hours from enter to exit; 0 where codecarbon is not installed or finds nothing to measure.

    Without a power sensor codecarbon estimates from the processor's name and load, so the figure is an estimate.
    """

    def __init__(self) -> None:
        self._tracker: Any = None
        self._measured = 0.0

    @property
    def watt_hours(self) -> float:
        """So far; after exit, in all."""
        if self._tracker is not None:
            self._tracker.flush()  # measures now, instead of at the next quarter of a minute
            total = getattr(self._tracker, "_total_energy", None)  # public only once it has stopped
            self._measured = self._measured if total is None else float(total.kWh) * 1000
        return self._measured

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
            self._measured = self._measured if measured is None else float(measured.energy_consumed) * 1000
            self._tracker = None
