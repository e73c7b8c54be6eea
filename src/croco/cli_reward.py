"""`croco reward train`: a reward model from preference files, and at once its audit on held-out pairs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from croco.cli_audit import Subject, checked, examine, present
from croco.describing import differences
from croco.errors import DataError, RecipeError

if TYPE_CHECKING:
    from croco.datafiles import FileRef
    from croco.recipe import Recipe, RewardFile
    from croco.records import Preference
    from croco.reward_settings import RewardTraining
    from croco.settings import Resources

app = typer.Typer(no_args_is_help=True, help="Train a reward model.")
#: The folder of a model's own in which its training is written down.
RECORD = "training"


@dataclass(frozen=True)
class Job:
    """A training as a file and options ask for it, with its preferences; `identity` names all of that."""

    train: RewardTraining
    pairs: list[Preference]
    heldout: list[Preference]
    recipe: dict[str, Any]

    @property
    def identity(self) -> str:
        """32 hex digits over what is trained, on what, and what is held out."""
        from croco.stage import digest_of

        return digest_of(self.recipe)


@app.command()
def train(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A YAML file with `reward` and `train` in it, such as a recipe."
        ),
    ],
    preferences: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PREFERENCES...]",
            help="Lines of id, lang, prompt (or messages), chosen, rejected; none: those of FILE.",
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="A new folder for the model.")
    ],
    heldout: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Pairs to audit on; may be given several times."),
    ] = None,
    heldout_share: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Of the prompts, to audit on, where no file is named."),
    ] = 0.1,
    lang: Annotated[
        str | None, typer.Option(metavar="TAG", help="The language of rows that name none.")
    ] = None,
    identifier: Annotated[
        str | None, typer.Option(help="What tells the language: py3langid, heliport, module:Class.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The audit as JSON.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of FILE."),
    ] = None,
) -> None:
    """Train a sequence classifier on preferences, and audit it per language on pairs held out.

    Killed and run again, it goes on. DIR holds the model, and in `training/` and `audit/` how it came to
    be and how far it can be trusted.
    """
    from croco.settings import Resources

    loaded = _load(file, set_ or [])
    heldout_files = heldout or []
    job = _job(loaded, file, preferences or [], heldout_files, heldout_share, checked(lang))
    if not _is_done(out, job):
        _train(job, out, loaded.resources.get("reward", Resources()))
    typer.echo(out, err=True)
    if not job.heldout:
        typer.echo("no pair is held out, so there is no audit: give --heldout", err=True)
        return
    subject = Subject(
        name=out.name,
        reward=loaded.reward.bound(file.parent),
        resources=loaded.resources.get("audit", Resources()),
        trained=out,
    )
    names = heldout_files or [f"{heldout_share:.0%} of the prompts, held out by id"]
    found = examine(subject, job.heldout, names, identifier or subject.identifier)
    (out / "audit").mkdir(exist_ok=True)
    present(found, out / "audit", json_)


def _load(path: Path, overrides: Sequence[str]) -> Recipe | RewardFile:
    """A recipe, or a file with `reward` and perhaps `resources` alone."""
    from croco import recipe_file
    from croco.plugins import see
    from croco.recipe import Recipe, RewardFile

    values = recipe_file.read(path, overrides)
    kind = RewardFile if values.keys() <= RewardFile.model_fields.keys() else Recipe
    loaded: Recipe | RewardFile = (
        recipe_file.parse_as(RewardFile, values, path)
        if kind is RewardFile
        else recipe_file.parse_as(Recipe, values | {"folder": path.parent}, path)
    )
    see(path.parent)
    return loaded


def _job(
    loaded: Recipe | RewardFile,
    file: Path,
    preferences: Sequence[str],
    heldout: Sequence[str],
    share: float,
    lang: str | None,
) -> Job:
    """What to train on which preferences; RecipeError where there are none."""
    from croco.building import VERSIONS, files_of
    from croco.datafiles import read_preferences
    from croco.training.heldout import split, unseen

    training, folder = loaded.reward.training, file.parent
    if training is None:
        raise RecipeError(f"{file}: key 'reward.train' is missing: say what is to be trained")
    files = files_of([*preferences], Path()) or files_of(training.files, folder)
    held_files = files_of([*heldout], Path())
    given = read_preferences(files, lang)
    if not given:
        raise RecipeError(
            "there are no preferences: name files with some, here or in `train.files`"
        )
    kept, held = (given, read_preferences(held_files, lang)) if heldout else split(given, share)
    pairs = unseen(kept, held)
    if len(pairs) < len(kept):
        typer.echo(
            f"{len(kept) - len(pairs)} of {len(kept)} pairs are not trained on: their prompts give held-out"
            " ones away, by id or text",
            err=True,
        )
    _warn_of_translations(pairs, held)
    if not pairs:
        raise DataError(
            "every pair's prompt is held out, by id or text: give prompts ids of their own, or hold out"
            " fewer"
        )
    bound = training.bound(folder)
    recipe = {
        "version": VERSIONS["reward"],
        "train": bound.model_dump(mode="json"),
        "files": _digests(files),
        "heldout": _digests(held_files) or share,
        "lang": lang,
    }
    return Job(bound, pairs, held, recipe)


def _warn_of_translations(pairs: Sequence[Preference], held: Sequence[Preference]) -> None:
    """Say how many held-out prompts seem to be trained on in another language."""
    from croco.training.heldout import translations

    found = translations(pairs, held)
    if found:
        one, other = found[0]
        typer.echo(
            f"warning: {len(found)} of {len({row.id for row in held})} held-out prompts seem to be trained"
            f" on in another language, by their ids (first: {one!r} is held out and {other!r} is not): give"
            " all languages of a prompt one id, so that they are held out together",
            err=True,
        )


def _digests(files: Sequence[FileRef]) -> list[str]:
    return [file.sha256 for file in files]


def _is_done(out: Path, job: Job) -> bool:
    """Whether the folder holds this very training's model; RecipeError where it holds anything else."""
    record = out / RECORD / "recipe.json"
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads(record.read_text("utf-8"))
        done = found["identity"] == job.identity and not differences(found["recipe"], job.recipe)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        done = False
    if not done:
        raise RecipeError(f"{out} exists and is not what this would train: name a new folder")
    typer.echo(f"{out} is trained already", err=True)
    return True


def _train(job: Job, out: Path, resources: Resources) -> None:
    """Make the model beside its place and rename it; what is there until then is the checkpoints."""
    from croco.progress import Reporter
    from croco.provenance import provenance
    from croco.training.reward import train_reward

    work = out.parent / f".{out.name}-{job.identity}"
    model = work / "model"
    shutil.rmtree(model, ignore_errors=True)  # half-written by a process that was killed
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(
            f"--out {out} cannot be made ({error.strerror}): name a folder"
        ) from error
    with Reporter() as reporter:
        steps = train_reward(
            job.train,
            job.pairs,
            model,
            resources,
            lambda *told: reporter.notify("reward", *told),
            work,
        )
    record = {"identity": job.identity, "recipe": job.recipe, "provenance": provenance()}
    lines = "".join(json.dumps(asdict(step)) + "\n" for step in steps)
    (model / RECORD / "steps.jsonl").write_text(lines, "utf-8")
    (model / RECORD / "recipe.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    model.replace(out)
    shutil.rmtree(work)
