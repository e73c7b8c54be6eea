"""Other libraries' bars and advice, kept off stderr: it is for our progress and our errors."""

from __future__ import annotations

import contextlib
import logging as plain
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Transformers without progress bars, advice on new or unused weights, and renamed options."""
    import transformers.utils.logging

    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    plain.getLogger("bitsandbytes").setLevel(plain.ERROR)  # advice on kernels, whoever imports it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
