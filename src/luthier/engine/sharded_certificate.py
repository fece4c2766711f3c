"""The certificate where weights lie in parts: the gradient of all processes, put together, is the naive one of the whole model."""

from typing import Any

from luthier.engine.certificate import Certifier, Finding, Gradient, without_dropout
from luthier.engine.sharding import Sharded
from luthier.engine.trainable import Masters
from luthier.models.forward import Root


class ShardedCertifier(Certifier):
    """In the run's type the gradient is computed as in a step, by all processes. The naive one, and where that type is not fp32 both once
    more in fp32, are computed by the first process, on the whole model put together for that."""

    def __init__(self, sharded: Sharded, *as_else: Any) -> None:
        super().__init__(*as_else)
        self.sharded = sharded

    def check(self, step: int) -> Finding:
        with self._perturbed_for_a_while(step):
            fast = self.masters.whole(self._fast_gradient(self.root, self.masters))
            with self.sharded.whole() as root:
                return self.world.once(lambda: self._held_against(fast, root, step))

    def _held_against(self, fast: Gradient, root: Root, step: int) -> Finding:
        masters = Masters(self.trainable(root))
        certifier = Certifier(root, masters, self.make, self.trainable, self.lot, self.token_budget, self.tolerance, self.seed)
        here = {name: value.to(root.device) for name, value in fast.items()}
        with without_dropout(root.model):
            return certifier.finding(step, root, masters, here, certifier.naive_gradient(root, masters))
