"""`Trimmed`: an answer's text as it comes, without the white space around it, which belongs to the template."""


class Trimmed:
    """What `push` returns can be shown; white space waits until something follows it."""

    def __init__(self) -> None:
        self._begun = False
        self._space = ""

    def push(self, text: str) -> str:
        text = self._space + text
        if not self._begun:
            text = text.lstrip()
        shown = text.rstrip()
        self._begun = self._begun or bool(shown)
        self._space = text[len(shown) :]
        return shown
