"""What can go wrong, as sentences for the person who can mend it: what, where, and what to do next."""


class UserError(Exception):
    """A mistake in what a person gave. The message is one or more full sentences; the command line prints it alone.

    Anything that is not a `UserError` is a fault of this program and keeps its traceback.
    """


class SettingsError(UserError):
    """A run file or a `key=value` that is unknown, out of range, or without effect. Names the key."""


class DataError(UserError):
    """A row that cannot be used. Names file and line."""


class TemplateError(UserError):
    """A chat template or tokenizer that cannot express a conversation faithfully."""


class ModelError(UserError):
    """A model folder that is missing, incomplete, corrupted, or does not fit its tokenizer or the request."""


class RunError(UserError):
    """A run folder that cannot be used: not a run, another run's, locked, or damaged."""


class TrainingFailed(UserError):
    """A run that would be, or became, wrong: no supervised tokens, NaN, no gradient, unchanged weights, a failed certificate."""


class OutOfMemory(TrainingFailed):
    """A run that does not fit into memory even one row at a time."""


class GradingError(UserError):
    """A grader or a reward that gives no usable number: it raised, hung, returned NaN, or has no sandbox or judge to work with."""
