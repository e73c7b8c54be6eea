"""DPO on the policy's own answers of the moment: every k steps it is sampled, scored and paired anew.

Answers are sampled from the very model in training. The reference is the policy before training. TRL sees
the same data set of steps as offline; what a step is made of is sampled when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from croco import rewards
from croco.calibration import fit as calibrate
from croco.engines import Reply, Request, refuse_too_long
from croco.errors import EngineError
from croco.kept import Kept, Sampling
from croco.pairing import reasons
from croco.pairing.reasons import Words
from croco.pairing.sampled import pairs_of, rewards_of
from croco.quiet import quiet
from croco.records import Candidate, Pairs, Prompt, Responses, Rewards, Step
from croco.schemas import decode, encode, schema
from croco.settings import Resources
from croco.stage import seed_of
from croco.training import Example, Job, OnlineJob, Place, preference
from croco.training.checkpoints import keep_only, newest, step_of
from croco.training.lengths import fit
from croco.training.log import NAME, Log
from croco.training.watching import Watcher

KEPT = "online.jsonl"


def train(online: OnlineJob, place: Place) -> list[Step]:
    """Tune the policy, write it to `place.out`, and what was sampled to its folder `online`.

    A step takes as many pools as make `batch_size` pairs. Pools without a pair are kept and counted; the
    pairs of a sampling are spread evenly over its steps, and a step that gets none changes nothing. Goes on
    from the last checkpoint in `place.work`, which are made where a sampling begins. Raises EngineError as
    `preference.train` does, and where an answer cannot be sampled or scored.
    """
    job, every = online.job, online.online.every
    save_every = every * -(-place.resources.checkpoint_every // every)
    resources = place.resources.model_copy(update={"checkpoint_every": save_every})
    place = replace(place, resources=resources)
    pools = pools_of(online)
    size = max(1, job.config.batch_size // online.pair.pairs_per_pool)
    sized = replace(job, config=job.config.model_copy(update={"batch_size": size}))
    checkpoint = newest(place.work, place.work / NAME)
    with quiet():
        trainer = preference.tuner(sized, pools, place)
        upto = step_of(checkpoint) if checkpoint else 0
        keep_only(place.work, checkpoint)
        trainer.log_file = Log(place.work / NAME, upto)
        source = _Source(online, trainer, pools, Kept(place.work / KEPT, upto))
        trainer.rows_of = source.rows_of
        trainer.add_callback(Watcher(trainer, job.config, []))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        data = told(online, source.kept)
        if not data["examples"]:
            pairs = (row for one in source.kept.samplings() for row in one.pairs)
            why = reasons.of_rows(pairs).words(Words(max_tokens=online.sampling.max_tokens))
            raise EngineError(
                f"no sampling gave a pair, so nothing was learnt: {why} (all is in {place.work / KEPT})"
            )
        preference.save(trainer, job, place, data)
    source.kept.publish(place.out)
    steps: list[Step] = trainer.log_file.steps
    return steps


def pools_of(online: OnlineJob) -> list[list[Prompt]]:
    """The prompts of each pool: one, or an id's in all languages."""
    ordered = sorted(online.prompts, key=lambda prompt: prompt.key)
    if online.pair.scope == "monolingual":
        return [[prompt] for prompt in ordered]
    pools: dict[str, list[Prompt]] = {}
    for prompt in ordered:
        pools.setdefault(prompt.id, []).append(prompt)
    return list(pools.values())


class _Source:
    """Gives the examples of a step; those of `every` steps are sampled when the first of them asks."""

    def __init__(
        self, online: OnlineJob, trainer: Any, pools: list[list[Prompt]], kept: Kept
    ) -> None:
        from croco.engines.transformers import TransformersEngine

        self.online, self.trainer, self.pools, self.kept = online, trainer, pools, kept
        self.engine = TransformersEngine.around(
            trainer.model, trainer.processing_class, online.sampling
        )
        refuse_too_long(self.engine, online.prompts, online.sampling)
        self.scorer = rewards.load(online.reward, online.scored, online.trained)
        self.writer = f"{online.job.policy.name}@{online.job.policy.revision}+online"
        self.steps: dict[int, list[Example]] = {}
        self.refer = _reference(online.job, trainer)

    def rows_of(self, step: int) -> list[Example]:
        """The examples of a step; none where its sampling gave fewer pairs than it has steps."""
        if step not in self.steps:
            self.steps = self._sampled(step)
        return self.steps[step]

    def _sampled(self, step: int) -> dict[int, list[Example]]:
        """Sample, score and pair for the steps from this one on, and part the pairs among them."""
        plan = self.trainer.plan
        steps = range(step, min(step + self.online.online.every, len(plan)))
        places = dict.fromkeys(place for k in steps for place in plan[k])  # an epoch may end within
        prompts = [prompt for place in places for prompt in self.pools[place]]
        model, training = self.trainer.model, self.trainer.model.training
        model.eval()
        said = f"sampling {self.online.sampling.n} answers to {len(prompts)} prompts"
        self.trainer.progress(step, len(plan), said)
        responses = self._answers(prompts, step)
        scored = self._scores(prompts, responses)
        made = self._pairs(responses, scored)
        sampling = Sampling(step, responses, scored, made)
        fitted = fit(_examples(sampling), self.online.job.config.max_length)
        examples = self.refer(_in_order(fitted.examples, prompts))
        model.train(training)
        self.kept.add(sampling)
        count, cuts = len(steps), range(len(steps) + 1)
        ends = [k * len(examples) // count for k in cuts]
        return {s: examples[ends[k] : ends[k + 1]] for k, s in enumerate(steps)}

    def _answers(self, prompts: list[Prompt], step: int) -> list[Responses]:
        """`Responses` rows by key; answer k's seed is that of (seed, id, lang, step, k)."""
        sampling, size = self.online.sampling, self.online.sampled.batch_size
        seed = self.online.job.seed
        requests = [
            Request(
                one.key,
                one.chat,
                [seed_of(seed, *one.key, "step", step, k) for k in range(sampling.n)],
                sampling.temperature,
            )
            for one in sorted(prompts, key=lambda prompt: prompt.key)
        ]
        batches = [requests[k : k + size] for k in range(0, len(requests), size)]
        with self.trainer.accelerator.autocast():
            return [self._row(reply) for part in self.engine.generate(batches) for reply in part]

    def _row(self, reply: Reply) -> Responses:
        id, lang = reply.request.key
        if reply.error:
            raise EngineError(f"prompt {id!r} ({lang}) cannot be answered: {reply.error}")
        return Responses(
            id,
            lang,
            reply.prompt_ids,
            [one.text for one in reply.completions],
            [one.token_ids for one in reply.completions],
            [one.finish_reason for one in reply.completions],
            self.writer,
            whole=[one.whole for one in reply.completions],
            reasoning_tokens=[one.reasoning_tokens for one in reply.completions],
            special=[one.special for one in reply.completions],
        )

    def _scores(self, prompts: list[Prompt], responses: list[Responses]) -> list[Rewards]:
        asked = {prompt.key: prompt for prompt in prompts}
        found: list[Rewards] = []
        size = self.online.scored.batch_size
        for start in range(0, len(responses), size):
            part = responses[start : start + size]
            candidates = [
                Candidate(row.lang, asked[row.key].prompt, text, asked[row.key].before)
                for row in part
                for text in row.texts
            ]
            scores = self.scorer.score(candidates)
            found += scores.rows([(row.key, len(row.texts)) for row in part])
        return found

    def _pairs(self, responses: list[Responses], scored: list[Rewards]) -> list[Pairs]:
        """A `Pairs` row per pool; rewards are calibrated over this sampling alone."""
        pair, seed = self.online.pair, self.online.job.seed
        rows = pa.Table.from_pylist([encode(row) for row in responses], schema(Responses))
        own = pa.table(
            {
                "id": [row.id for row in scored],
                "lang": [row.lang for row in scored],
                "rewards": pa.array([row.rewards for row in scored], pa.list_(pa.float64())),
            }
        )
        lists = own["rewards"].combine_chunks()
        calibration = calibrate(pair.normalise, [rewards_of(own)])
        table = pairs_of(rows, lists, pair, calibration, seed)
        return [decode(Pairs, row) for row in table.to_pylist()]


def told(online: OnlineJob, kept: Kept) -> dict[str, Any]:
    """What is told of the data beside the log."""
    samplings = list(kept.samplings())
    found = fit(
        (example for one in samplings for example in _examples(one)), online.job.config.max_length
    )
    return {
        "examples": len(found.examples),
        "heldout": 0,
        "cut": found.cut,
        "dropped": found.dropped,
        "samplings": len(samplings),
    }


def _examples(sampling: Sampling) -> list[Example]:
    sampled = {row.key: row for row in sampling.responses}
    found = []
    for row in sampling.pairs:
        for pair in row.pairs:
            chosen, rejected = (
                sampled[row.id, side.lang].token_ids[side.index]
                for side in (pair.chosen, pair.rejected)
            )
            asked = sampled[row.id, pair.prompt_lang].prompt_ids
            found.append(Example(asked, chosen, rejected, row.id, pair.prompt_lang))
    return found


def _in_order(examples: list[Example], prompts: list[Prompt]) -> list[Example]:
    """The examples in the order in which the schedule takes their prompts."""
    place = {prompt.key: k for k, prompt in enumerate(prompts)}
    return sorted(examples, key=lambda one: place[one.id, one.lang])


def _reference(job: Job, trainer: Any) -> Callable[[list[Example]], list[Example]]:
    """What gives examples the log-probabilities of the policy before training.

    That is the model without its adapter, where it has a new one; else a copy is loaded, once.
    """
    if job.config.lora is not None and job.start is None:

        def without_adapter(examples: list[Example]) -> list[Example]:
            with trainer.model.disable_adapter():
                return preference.referred(trainer, examples)

        return without_adapter
    from croco.training.reference import Reference

    copy = Reference(job.config, job.policy, job.start, _resources(trainer))

    def by_copy(examples: list[Example]) -> list[Example]:
        known = copy.log_probs(examples)
        return [replace(one, reference=own) for one, own in zip(examples, known, strict=True)]

    return by_copy


def _resources(trainer: Any) -> Resources:
    """Where a copy beside the model in training is read: on its device, in its micro batches."""
    device = "cpu" if trainer.args.device.type == "cpu" else "auto"
    return Resources(device=device, micro_batch=trainer.micro_batch)
