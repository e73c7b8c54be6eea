"""DPO and SFT on stored token ids: TRL computes the loss, PEFT holds the adapter.

The ids are trained on as they were sampled: nothing is tokenised or ended with an end-of-turn token. What
an optimizer step is made of is `steps`' business.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from croco import models
from croco.errors import EngineError
from croco.quiet import quiet
from croco.records import Step
from croco.settings import Resources
from croco.training import Example, Job, Place, accelerating, nodes
from croco.training import policy as weights
from croco.training.checkpoints import FOLDER, keep_only, newest, step_of
from croco.training.heads import collator, log_probs, project_responses_only
from croco.training.lengths import Fitted, fit
from croco.training.log import DATA, NAME, Log
from croco.training.moved import refuse_unmoved, sums, trainable
from croco.training.schedule import schedule, warmup_of
from croco.training.steps import DpoSteps, SftSteps
from croco.training_settings import TrainConfig

log = logging.getLogger("croco")


def train(job: Job, place: Place) -> list[Step]:
    """Tune a LoRA adapter, or all weights, on the examples and write them to `place.out`.

    `chosen_logp` and `rejected_logp` are nats per response, `margin` is the implicit reward margin (beta
    times the gap of log ratios); of these SFT has only `chosen_logp`. Goes on from the last checkpoint in
    `place.work`. Raises EngineError where there is nothing to train on, or the loss is no number.
    """
    if nodes.count(place.resources) > 1 or place.resources.accelerate:
        from croco.training.launch import launch

        return launch(job, place)
    return train_here(job, place)


def train_here(job: Job, place: Place) -> list[Step]:
    """`train` in this process, which may be one of several that work together."""
    fitted = referable(fit(job.examples, job.config.max_length), job.config.method)
    if fitted.words:
        log.warning("training: %s", fitted.words)
    if not fitted.examples:
        why = f": {fitted.words}" if fitted.words else ": see why pairing gave none"
        raise EngineError(f"there are no examples to train on{why}")
    from croco.training.watching import Watcher

    checkpoint = newest(place.work, place.work / NAME)
    with quiet():
        trainer = tuner(job, fitted.examples, place)
        main = trainer.accelerator.is_main_process
        upto = step_of(checkpoint) if checkpoint else 0
        if main:
            keep_only(place.work, checkpoint)
        trainer.log_file = Log(place.work / NAME, upto, write=main)
        heldout = referable(fit(job.heldout, job.config.max_length), job.config.method).examples
        if job.config.method == "dpo":
            trainer.examples = referred(trainer, fitted.examples)
            heldout = referred(trainer, heldout)
        trainer.add_callback(Watcher(trainer, job.config, heldout))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        data = {"examples": len(fitted.examples), "heldout": len(heldout)}
        dropped = [*job.dropped, *fitted.dropped]
        save(trainer, job, place, data | {"cut": fitted.cut, "dropped": dropped})
    steps: list[Step] = trainer.log_file.steps
    return steps


def tuner(job: Job, examples: Sequence[Any], place: Place) -> Any:
    """TRL's trainer of the job's policy, its steps made of these examples."""
    import torch
    import transformers
    import trl
    from datasets import Dataset

    config, resources = job.config, place.resources
    if resources.threads:
        torch.set_num_threads(resources.threads)
    plan = schedule(len(examples), config.batch_size, config.epochs, job.seed)
    dpo = config.method == "dpo"
    kind: Any = type("Tuner", (DpoSteps, trl.DPOTrainer) if dpo else (SftSteps, trl.SFTTrainer), {})
    args = _arguments(config, len(plan), place, job.seed)
    transformers.set_seed(job.seed)  # the initial adapter is drawn
    source = models.fetch(job.policy)
    model = weights.load(config, job.policy, job.start, str(args.device))
    tensors = weights.trained(model)
    trainer = kind(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"step": list(range(len(plan)))}),
        processing_class=transformers.AutoTokenizer.from_pretrained(source),
    )
    peft_config = getattr(trainer.model, "peft_config", {})
    if "ref" in peft_config:  # TRL's copy of the first adapter: the reference is known beforehand
        trainer.model.delete_adapter("ref")
    weights.restore(trainer.model, tensors)
    trainer.begun = trainable(trainer.model)
    trainer.precompute_ref_logps, trainer.sft_weight = True, config.sft_weight
    trainer.epochs, trainer.progress = config.epochs, place.progress
    trainer.collate_pairs = collator(trainer.processing_class)
    trainer.follow(examples, plan, resources.micro_batch)
    if args.device.type == "cpu":
        project_responses_only(trainer.model.get_base_model() if peft_config else trainer.model)
    return trainer


def referable(fitted: Fitted, method: str) -> Fitted:
    """What has its reference's log-probabilities, where some have: the policy in training, which would give
    the others theirs, need not be that reference."""
    known = [one for one in fitted.examples if one.reference is not None]
    if method == "sft" or not known:
        return fitted
    lacking = [one for one in fitted.examples if one.reference is None]
    dropped = [(one.id, one.lang, "its reference is not known") for one in lacking]
    return replace(fitted, examples=known, dropped=[*fitted.dropped, *dropped])


def referred(trainer: Any, examples: list[Example]) -> list[Example]:
    """The examples with the reference's log-probabilities. The reference is the policy before its first
    step, whether that is the base model, an SFT adapter on it, or a tuned model."""
    unknown = [k for k, example in enumerate(examples) if example.reference is None]
    unknown.sort(key=lambda k: examples[k].tokens)
    found = list(examples)
    if not unknown:
        return found
    trainer.model.to(trainer.args.device).eval()
    for start in range(0, len(unknown), trainer.micro_batch):
        places = unknown[start : start + trainer.micro_batch]
        with trainer.accelerator.autocast():
            pairs = log_probs(trainer.model, trainer.collate_pairs, [examples[k] for k in places])
        for k, chosen, rejected in zip(places, *(side.tolist() for side in pairs), strict=True):
            found[k] = replace(examples[k], reference=(chosen, rejected))
    return found


def _arguments(config: TrainConfig, steps: int, place: Place, seed: int) -> Any:
    import torch
    import trl

    resources, precision = place.resources, accelerating.precision_of(config)
    accelerating.fix(precision)
    cpu = resources.device == "cpu" or not torch.cuda.is_available()
    common: dict[str, Any] = {
        "output_dir": str(place.work / FOLDER),
        "seed": seed,
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1,  # of steps
        "remove_unused_columns": False,
        "learning_rate": config.rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": warmup_of(steps, config.warmup_share),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "max_length": None,
        "use_cpu": cpu,
        # An adapter is float32 and its base has its dtype; whole models are float32, read in bfloat16.
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "gradient_checkpointing": resources.gradient_checkpointing,
        "dataloader_pin_memory": False,
        "save_strategy": "steps",
        "save_steps": resources.checkpoint_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": _trackers(resources),
        "disable_tqdm": True,
    }
    if config.method == "sft":
        own = {"dataset_kwargs": {"skip_prepare_dataset": True}}
        return trl.SFTConfig(**common, **own, padding_free=resources.padding_free)
    if resources.padding_free:
        raise EngineError("padding_free is for SFT: TRL has none for DPO yet; remove it")
    return trl.DPOConfig(
        **common,
        beta=config.beta,
        loss_type=[config.loss] + ["sft"] * (config.sft_weight > 0),
        label_smoothing=config.label_smoothing,
        disable_dropout=False,
        precompute_ref_log_probs=config.lora is None,  # no second model is loaded for it
    )


def _trackers(resources: Resources) -> list[str]:
    for name in resources.trackers:
        if importlib.util.find_spec(name) is None:
            raise EngineError(f"resources.train.trackers: {name} is not here: pip install {name}")
    return list(resources.trackers)


def save(trainer: Any, job: Job, place: Place, data: dict[str, Any]) -> None:
    """What was trained, its log, and what is told of its data; shared weights are gathered first.

    EngineError where no weight is another than before training.
    """
    several = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if several else None
    if trainer.accelerator.is_main_process:
        model = trainer.accelerator.unwrap_model(trainer.model)
        now = trainable(model) if state is None else sums(state.items())
        refuse_unmoved(trainer.begun, now, len(trainer.plan))
        weights.save(model, state, job.policy, place.out)
        shutil.copyfile(place.work / NAME, place.out / NAME)
        (place.out / DATA).write_text(json.dumps(data, ensure_ascii=False) + "\n", encoding="utf-8")
        tensorboard = place.work / FOLDER / "runs"
        if tensorboard.is_dir():
            shutil.copytree(tensorboard, place.out / "tensorboard")
    trainer.accelerator.wait_for_everyone()
