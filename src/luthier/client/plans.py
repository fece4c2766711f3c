"""Plans: what a run will need, before anything is trained."""

from luthier.client.asking import Asking
from luthier.spec.plans import NewPlan, Plan


class Plans:
    """Made by a process of the gateway's own, in seconds."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def create(self, new: NewPlan) -> Plan:
        """Memory, time, energy and disk of a run, whether it fits, and settings with which it would."""
        return self._asking.ask(Plan, "POST", "/api/plans", body=new)
