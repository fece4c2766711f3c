"""One request under way."""

from dataclasses import dataclass, field

import numpy as np

from luthier.models.crowd import Crowd, Member
from luthier.models.draw import Turn
from luthier.models.own_cache import Loner
from luthier.models.requests import Request, StopStrings, TextStream


@dataclass(eq=False)
class Answering:
    """A request, what was drawn for it so far (`ids`), and where its sequence stands. `uniform`: a number for each token to come."""

    number: int
    request: Request
    uniform: np.ndarray
    text: TextStream | None
    stops: StopStrings | None
    ids: list[int] = field(default_factory=list)
    place: Member | Loner | None = None
    crowd: Crowd | None = None

    @property
    def so_far(self) -> np.ndarray:
        return np.concatenate([np.asarray(self.request.prompt, dtype=np.int64), np.array(self.ids, dtype=np.int64)])

    @property
    def length(self) -> int:
        return len(self.request.prompt) + len(self.ids)

    @property
    def turn(self) -> Turn:
        r = self.request
        allowed = None if r.mask is None else r.mask.allowed()
        return Turn(r.rules, float(self.uniform[len(self.ids)]), r.prompt, self.ids, allowed, r.num_top)
