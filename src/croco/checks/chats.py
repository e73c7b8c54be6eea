"""Whether the chat templates of models take the conversations that they will be given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from croco import packages, templates, tokens
from croco.checks import described
from croco.checks.described import UnknownError
from croco.checks.findings import Finding, Roles, Subject, roles_in, sections
from croco.errors import CrocoError
from croco.judging.contests import VALUES as COMPARED
from croco.models import ModelRef
from croco.reward_settings import RewardConfig
from croco.rewards.prompted import VALUES as GRADED
from croco.settings import Prompted, Sampling, Translate
from croco.stage import Stage
from croco.tokens import Chat
from croco.translation.prompted import VALUES as TRANSLATED

#: Prompts of a file whose turns are looked at, where they are many.
LOOKED_AT = 20_000
#: Engines that render a chat here; a server does it itself.
LOCAL = ("transformers", "vllm")
#: What stands in the place of texts.
WORD = "a"


def check(subject: Subject) -> Iterator[Finding]:
    """An error for each chat template that refuses what it will be given, before anything is sampled.

    What several stages would be refused for is said of the first.
    """
    if packages.absent(["transformers"]):
        return  # said already
    yield from {one.message: one for one in reversed([*_all(subject)])}.values()


def _all(subject: Subject) -> Iterator[Finding]:
    for stage in subject.pending.values():
        own: Any = stage.config
        if stage.kind == "sample" and own.sampling.engine in LOCAL:
            yield from _policy(subject, stage, own.policy, own.sampling)
        if stage.kind in ("score", "judge", "translate", "train"):
            for section in sections(own):
                yield from _section(subject, stage, section)


def _section(subject: Subject, stage: Stage, section: Any) -> Iterator[Finding]:
    """What a reward, judge or translator of a stage refuses."""
    where = f"the {_role(stage)} of stage {stage.name!r}"
    match section:
        case RewardConfig(kind="classifier" | "vllm" | "server", train=None):
            yield from _conversations(subject, stage, section.ref, where)
        case RewardConfig(kind="prompt", prompt=Prompted() as prompt):
            yield from _template(subject, prompt, GRADED, where)
        case RewardConfig(kind="pairwise", prompt=Prompted() as prompt):
            yield from _template(subject, prompt, COMPARED, where)
        case Translate(prompt=Prompted() as prompt):
            yield from _template(subject, prompt, TRANSLATED, where)


def _role(stage: Stage) -> str:
    return {"judge": "judge", "translate": "translator"}.get(stage.kind, "reward")


def _policy(
    subject: Subject, stage: Stage, policy: ModelRef, sampling: Sampling
) -> Iterator[Finding]:
    """What keeps a policy from answering: its template, its vocabulary, too short a context."""
    if policy.name == "fake":
        return
    where = f"the policy of stage {stage.name!r}"
    read = _asked(sampling)
    yield from _refused(subject, policy, where, turns_of(subject, stage), read)
    with_config = _described(subject, policy)
    if with_config is None:
        return
    tokenizer, config = with_config
    text = config.get_text_config()
    try:
        tokens.check_vocabulary(tokenizer, text.vocab_size, f"model {policy.name}")
    except CrocoError as error:
        yield Finding("error", where, str(error))
    context = getattr(text, "max_position_embeddings", None)
    longest = sampling.max_tokens
    if isinstance(context, int) and longest >= context:
        message = (
            f"answers of {longest} tokens do not fit the model's context of {context}: lower it"
        )
        yield Finding("error", "sample.max_tokens", message)


def _conversations(subject: Subject, stage: Stage, ref: ModelRef, where: str) -> Iterator[Finding]:
    def read(tokenizer: Any, chat: Chat) -> None:
        if tokenizer.chat_template:  # else prompt and answer are read as two texts
            tokens.conversation_ids(tokenizer, chat, WORD)

    yield from _refused(subject, ref, where, turns_of(subject, stage), read)


def _template(
    subject: Subject, prompt: Prompted, values: set[str], where: str
) -> Iterator[Finding]:
    """What is wrong with a template for a model, or refused by the model's own chat template."""
    try:
        chat = templates.read(prompt.file, values).chat(**dict.fromkeys(values, WORD))
    except CrocoError as error:
        yield Finding("error", where, str(error))
        return
    if prompt.engine in LOCAL:
        known = {prompt.file.label: chat}
        yield from _refused(subject, prompt.ref, where, known, _asked(prompt))


def _asked(settings: Sampling | Prompted) -> Callable[[Any, Chat], Any]:
    """What renders a chat up to the model's turn, as an engine with these settings does."""
    arguments = settings.chat_template_kwargs
    return lambda tokenizer, chat: tokens.prompt_ids(tokenizer, chat, arguments)


def _refused(
    subject: Subject,
    ref: ModelRef,
    where: str,
    chats: dict[str, Chat],
    read: Callable[[Any, Chat], Any],
) -> Iterator[Finding]:
    """The first chat that a model's template refuses, by what it comes from."""
    found = _described(subject, ref)
    if found is None:
        yield Finding("warning", where, f"model {ref.name!r} is not here, so it was not checked")
        return
    for source, chat in chats.items():
        try:
            read(found[0], chat)
        except CrocoError as error:
            roles = ", ".join(turn["role"] for turn in chat)
            hint = (
                ": move the system turn's text into the user's"
                if roles.startswith("system")
                else ""
            )
            yield Finding("error", where, f"{error} ({source}: {roles}){hint}")
            return


def _described(subject: Subject, ref: ModelRef) -> tuple[Any, Any] | None:
    """A model's tokenizer and configuration, where they can be had."""
    try:
        tokenizer = described.tokenizer_of(ref, subject.quick)
        return tokenizer, described.config_of(ref, subject.quick)
    except UnknownError:
        return None


def turns_of(subject: Subject, stage: Stage) -> dict[str, Chat]:
    """A chat for each order of roles in a stage's prompts, by the prompt that has it first."""
    found = _roles(subject, stage) or {("user",): "any prompt"}
    return {what: [{"role": r, "content": WORD} for r in roles] for roles, what in found.items()}


def _roles(subject: Subject, stage: Stage) -> dict[Roles, str]:
    """The orders of roles in a stage's prompts, from the store or as their files were read."""
    source = next((one for one in _above(stage) if one.kind == "prompts"), None)
    if source is None:
        return {}
    if subject.store is not None and not subject.store.artifact(source).owed():
        return roles_in(islice(subject.store.artifact(source).rows(), LOOKED_AT))
    return subject.turns.get(source.identity, {})


def _above(stage: Stage) -> Iterator[Stage]:
    """The stages that a stage reads its prompts from, the nearest first."""
    for name in ("prompts", "drafts", "sample"):
        if source := stage.inputs.get(name):
            yield source
            yield from _above(source)
