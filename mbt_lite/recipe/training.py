"""What a recipe may say of training: the sections of `sft` and `grpo` (see `schema` for how they are written)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mbt_lite.recipe.section import (
    Fraction,
    Free,
    LearningRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
    Size,
)


class Sft(Section):
    """Stage `sft`: traces to an adapter, loss on the completion only."""

    learning_rate: LearningRate = 2e-4
    """About ten times the full fine-tuning rate."""
    epochs: Annotated[float, Field(gt=0, le=10_000)] = 1.0
    """Passes over the traces."""
    micro_batch_size: Size = 2
    """Rows on the device at once; times `gradient_accumulation_steps` they are the rows of an optimizer step."""
    gradient_accumulation_steps: Size = 8
    """Micro-batches per optimizer step."""
    max_sequence_tokens: PositiveInt = 8192
    """Longer rows are dropped and counted, never cut."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps with a rising learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    max_gradient_norm: PositiveFloat = 0.3
    """Gradients are clipped to this norm."""
    gradient_checkpointing: Annotated[bool, Free] = True
    """Trade a third more compute for much less memory."""
    save_every_steps: Annotated[PositiveInt, Free] = 25
    """Optimizer steps between checkpoints."""
    save_every_minutes: Annotated[Annotated[float, Field(gt=0, le=10_000)] | None, Free] = None
    """A checkpoint also after so many minutes without one; none counts steps only."""
    held_out_traces: NonNegativeInt = 0
    """Traces kept out of training, whole questions at a time, to measure a dev loss; the adapter with the lowest one is
    kept. 0 trains on all and keeps the last adapter."""
    evaluate_every_steps: PositiveInt = 25
    """Optimizer steps between two dev losses; the last step has one too."""
    patience: PositiveInt | None = None
    """Dev losses in a row without a new lowest one after which sft stops; none goes on to the end."""
    seed: Seed = 0
    """Seeds row order, adapter and the choice of held-out questions."""


class RewardWeights(Section):
    """Weight of each reward term; the paper's reward is `answer: 1` alone."""

    answer: float = 1.0
    """Token F1 of the answer, 0..1."""
    exact: float = 0.0
    """Exact match, 0 or 1."""
    format: float = 0.0
    """One think pair, one answer pair, stopped by itself, 0 or 1."""
    keep: float = 0.0
    """-1 where the right answer was derived and lost."""
    dwell: float = 0.0
    """-1..0: words spent after the answer was found."""
    redundancy: float = 0.0
    """-1..0: share of repeated 4-grams."""
    length: float = 0.0
    """-1..0: overlong completions."""


class Reward(Section):
    """The reward law's settings."""

    weights: RewardWeights = RewardWeights()
    """One weight per term."""
    verification_words: NonNegativeInt = 40
    """Words after the first mention of the gold that count as verification, not as dwelling."""
    overlong_buffer_tokens: NonNegativeInt = 256
    """The length term falls over this many tokens before the limit."""


class Masa(Section):
    """What `method: masa` turns (arXiv 2510.03259); the defaults are ours where the paper gives none."""

    weight: PositiveFloat = 1.0
    """Times the reward of a forecast, 0..1: without `scale_rewards`, forecasts against solutions."""
    rate_law: Literal["masa", "brier"] = "masa"
    """What a foretold rate earns: `masa`: 0.01^distance, which pays for modes; `brier`: 1 - distance^2."""
    length_tolerance: Fraction = 0.1
    """A foretold length is right within this share beyond the shortest and longest right solution; the paper's is 0."""
    sequential_after: NonNegativeInt | None = None
    """Steps after which forecasts come first, questions that they call trivial or unsolvable are not solved, and
    solutions are cut at a multiple of the foretold length; none: never, and nothing is saved."""
    gate_sd: PositiveFloat = 0.1
    """Forecasts of a question agree where their rates have a standard deviation below this."""
    cutoff_factor: PositiveFloat = 2.0
    """A solution may take this many times the median length foretold."""
    cutoff_floor_tokens: PositiveInt = 64
    """But always so many tokens."""
    audit_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the gated questions that are solved all the same, to see whether the gate is right."""


class Ccrl(Section):
    """A reward for being sure of right steps and unsure of wrong ones, on top of the law (the idea is that of
    arXiv 2601.21909; its formula is not public, this rule is ours)."""

    weight: NonNegativeFloat = 0.0
    """Times the term, -1..1; 0: off. Below half the law's gap between a right and a wrong answer; ours is 0.2."""
    confidence: Literal["token", "stated"] = "token"
    """How sure a step is. `token`: by the policy's probability of what was found, the geometric mean over its tokens.
    `stated`: by the `[NN]` at the end of its line, in whole per cent; none there counts as certain."""
    law: Literal["proper", "linear"] = "proper"
    """What a step earns by confidence c. `proper`: 2c - c^2 if it is right, else -c^2: best where c is the chance to be
    right. `linear`: c or -c, which is best at 0 or 1; for an ablation."""


class Confidence(Section):
    """A reward for saying how likely the answer is right, on top of the law (RLCR, arXiv 2507.16806)."""

    weight: NonNegativeFloat = 0.0
    """Times y - (y - c)^2, y = right and stopped, c = the trace's last line, `Confidence: NN`, in per cent; a line that
    is missing earns -1. 0: off; 0.5 weighs it as RLCR does."""


class Grpo(Section):
    """Stage `grpo`: continue the SFT adapter with group-relative policy optimization."""

    method: Literal["law", "masa"] = "law"
    """How rollouts are rewarded. `law`: by the weighed terms of the reward law. `masa`: besides, each question has a
    second group that foretells how the first will go: names, share right, length (twice the rollouts)."""
    masa: Masa = Masa()
    """What `method: masa` turns."""
    ccrl: Ccrl = Ccrl()
    """Confidence on steps, rewarded (method law, questions that ask for steps)."""
    confidence: Confidence = Confidence()
    """Confidence in the answer, rewarded (method law, questions that ask for confidence)."""
    start: Literal["sft", "base"] = "sft"
    """`sft`: continue its adapter. `base`: a fresh adapter on the untrained student (GRPO only)."""
    steps: PositiveInt = 100
    """Optimizer steps."""
    prompts_per_step: Size = 8
    """Groups per optimizer step."""
    group_size: Annotated[int, Field(ge=2, le=65_536)] = 8
    """Completions per prompt."""
    micro_batch_size: Annotated[Size, Free] = 2
    """Completions on the device at once in the backward pass; a step always has prompts_per_step * group_size."""
    rollout_batch_size: Annotated[Size, Free] = 32
    """Completions generated at once: this bounds the KV cache."""
    rollout_cache_gib: Annotated[PositiveFloat | None, Free] = None
    """Most that the KV cache of the rollouts may take; fewer completions go at once where it would take more."""
    rollout_engine: Literal["local", "vllm"] = "local"
    """What generates the rollouts of the steps. `local`: the student itself. `vllm`: vLLM on the student's own weights,
    through unsloth on CUDA, with the adapter's weights of each step (not run yet on a card)."""
    vllm_memory_fraction: Annotated[float, Field(gt=0, lt=1), Free] = 0.5
    """Share of the card's memory that `rollout_engine: vllm` may take for the student's weights and its KV cache, from
    loading to the end; what training adds has the rest."""
    prefilter: Literal["off", "gen", "start"] = "off"
    """Leave out questions that are always or never solved: their groups teach little. `gen`: by the student's drafts
    of `gen`, two a question at least; they cost nothing, but were written before `sft`. `start`: by rollouts of the
    adapter that training starts from. `off`: a group that is all equal costs its rollout only, and filtering costs
    rollouts too; it pays where questions come back."""
    prefilter_samples: Annotated[int, Field(ge=2, le=65_536)] = 4
    """Completions per question for `prefilter: start`."""
    dev_questions: NonNegativeInt = 0
    """Score this many held-out questions, greedily, at the start and with each checkpoint; 0: none. They come from
    `data.dev`, and are none of those that `eval` scores: set `data.dev.limit` so that some are left."""
    keep_adapter: Literal["best", "last"] = "best"
    """`best`: the adapter with the highest mean (`keep_best_by`) on `dev_questions`, the one training starts from
    included; without dev questions it is the last."""
    keep_best_by: Literal["reward", "exact_match"] = "reward"
    """What `best` means: the whole reward, whose shape may pay for more than answers, or exact matches alone."""
    stop_after_dead_steps: Annotated[PositiveInt | None, Free] = 5
    """Stop after so many steps in a row in which all rewards of each group were equal; none goes on to the end."""
    learning_rate: LearningRate = 1e-5
    """Constant after the warm-up."""
    warmup_fraction: Fraction = 0.0
    """Share of the steps with a rising learning rate. The first has 0: of a few steps, its completions are wasted."""
    temperature: Annotated[float, Field(gt=0, le=5)] = 1.0
    """Sampling temperature of the rollouts."""
    max_completion_tokens: PositiveInt = 2048
    """Longest completion."""
    loss_type: Literal["dapo", "dr_grpo", "grpo"] = "dapo"
    """How token losses are averaged."""
    scale_rewards: Literal["group", "none"] = "group"
    """Divide advantages by the group's spread, or not (Dr. GRPO)."""
    clip_low: PositiveFloat = 0.2
    """Lower clip of the probability ratio."""
    clip_high: PositiveFloat = 0.28
    """Upper clip (clip-higher keeps entropy)."""
    kl_coefficient: NonNegativeFloat = 0.0
    """Pull towards the SFT adapter; 0 needs no reference model."""
    max_gradient_norm: PositiveFloat = 1.0
    """Gradients are clipped to this norm."""
    gradient_checkpointing: Annotated[bool, Free] = True
    """Trade a third more compute for much less memory."""
    reward: Reward = Reward()
    """The reward law's settings."""
    save_every_steps: Annotated[PositiveInt, Free] = 10
    """Optimizer steps between checkpoints."""
    save_every_minutes: Annotated[Annotated[float, Field(gt=0, le=10_000)] | None, Free] = None
    """A checkpoint also after so many minutes without one; none counts steps only."""
    seed: Seed = 0
    """Seeds prompt order and rollouts."""

    @property
    def groups_per_question(self) -> int:
        """Count the groups that a question of a step has."""
        return 2 if self.method == "masa" else 1

    @property
    def completions_per_step(self) -> int:
        """Count the completions of a step, of all its groups."""
        return self.prompts_per_step * self.groups_per_question * self.group_size
