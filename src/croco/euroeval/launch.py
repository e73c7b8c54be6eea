"""EuroEval's command, for adapters on a base model in a folder; runs in an environment without CroCo.

EuroEval asks the model hub about the base of every adapter and stops where that is a folder, and it
refuses adapters where no network is, even with the base and the data sets at hand. Both are answered
here: a folder is its own answer. Chat templates write one date (`croco.dates`), not today's. Nothing else
of how a model is benchmarked changes.
"""

import contextlib
import ctypes
import importlib
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

DATE = (2024, 7, 26)


def main() -> None:
    """Run EuroEval's command with the arguments of this process, which ends when its parent does."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    from euroeval import benchmarker  # type: ignore[import-not-found, unused-ignore]
    from huggingface_hub import HfApi, ModelInfo

    of_hub = HfApi.model_info

    def model_info(self: Any, repo_id: str, *args: Any, **more: Any) -> Any:
        if Path(repo_id).is_dir():
            return ModelInfo(id=repo_id)
        return of_hub(self, repo_id, *args, **more)

    HfApi.model_info = model_info
    download = "--download-only" in sys.argv
    asked = benchmarker.internet_connection_available
    benchmarker.internet_connection_available = lambda: True if not download else asked()

    from euroeval.cli import benchmark  # type: ignore[import-not-found, unused-ignore]

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    fix_date()
    benchmark()


def fix_date() -> None:
    """Tell chat templates `DATE` where they ask for today's, so that figures are the same tomorrow."""
    module: Any = importlib.import_module("transformers.utils.chat_template_utils")

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(*DATE, tzinfo=tz)

    module.datetime = Fixed


if __name__ == "__main__":
    main()
