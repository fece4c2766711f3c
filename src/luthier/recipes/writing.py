"""`Writing`: an answer while it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field

from luthier.models.requests import Event
from luthier.serve.trimmed import Trimmed


@dataclass
class Writing:
    """An answer as it comes. `strip`: white space around it belongs to the template."""

    number: int
    strip: bool
    on_text: Callable[[str], None] | None
    parts: list[str] = field(default_factory=list)
    num_tokens: int = 0
    end: str | None = None
    trimmed: Trimmed = field(default_factory=Trimmed)

    def take(self, event: Event) -> None:
        text = self.trimmed.push(event.text) if self.strip else event.text
        if text:
            self.parts.append(text)
            if self.on_text is not None:
                self.on_text(text)
        self.num_tokens += event.token is not None
        self.end = event.end

    @property
    def text(self) -> str:
        return "".join(self.parts)
