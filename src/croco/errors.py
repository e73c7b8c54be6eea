"""One error type per boundary, each with the exit code that the command line gives it.

A message is one sentence: what is wrong, where (file:line or recipe key), and what to do about it.
"""


class CrocoError(Exception):
    """Anything CroCo reports without a traceback; `exit_code` is what the command line ends with."""

    exit_code = 1


class RecipeError(CrocoError):
    """The recipe, an override or another argument is wrong: the user's to mend."""

    exit_code = 2


class DataError(CrocoError):
    """An input file or the store holds something that cannot be used: the user's to mend."""

    exit_code = 2


class EngineError(CrocoError):
    """A model, engine, scorer or trainer cannot do what was asked of it."""


class NoAnswerError(EngineError):
    """A model answered a request without an answer: `reason` is "empty" or "cut off"."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StageError(CrocoError):
    """A stage stopped before its work was done."""


class OwedError(StageError):
    """Some rows failed and stay owed; running again retries only those."""

    exit_code = 75


class StopError(EngineError):
    """What failed is no row's fault: the stage stops, and what was done is kept."""


class GoneError(StopError):
    """A server does not answer: the rows stay owed."""

    exit_code = 75
