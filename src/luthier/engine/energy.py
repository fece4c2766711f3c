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
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="DEU", save_to_file=False, log_level="critical", measure_power_secs=15, allow_multiple_runs=True
        )
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        self._tracker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tracker is not None:
            self._tracker.stop()
            self.watt_hours = float(self._tracker.final_emissions_data.energy_consumed) * 1000
