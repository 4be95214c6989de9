"""What a recipe may say: every key, its type, its unit, its default and why it exists.

One recipe is one method: the shared sections `model data teacher lora tracking` and one section per stage. The
docstring under an attribute is its help text, in `mbt-lite schema` too. Units stand in the names. Keys marked `Free`
change how fast or how safely a stage runs but not what it makes, so a run may be resumed with another value. The
sections of training stand in `training`, those of endpoints in `endpoint`; all are imported from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from mbt_lite.layouts import AUTO, LAYOUTS
from mbt_lite.recipe.endpoint import EvalStudent as EvalStudent
from mbt_lite.recipe.endpoint import GenStudent as GenStudent
from mbt_lite.recipe.endpoint import Judge as Judge
from mbt_lite.recipe.endpoint import JudgeMeasure as JudgeMeasure
from mbt_lite.recipe.endpoint import StudentModels as StudentModels
from mbt_lite.recipe.endpoint import Teacher as Teacher
from mbt_lite.recipe.section import Free, NonNegativeInt, PositiveInt, Section, Seed, Size, Temperature
from mbt_lite.recipe.training import Ccrl as Ccrl
from mbt_lite.recipe.training import Confidence as Confidence
from mbt_lite.recipe.training import Grpo as Grpo
from mbt_lite.recipe.training import Masa as Masa
from mbt_lite.recipe.training import Reward as Reward
from mbt_lite.recipe.training import RewardWeights as RewardWeights
from mbt_lite.recipe.training import Sft as Sft
from mbt_lite.recipe.variants import Variant as Variant
from mbt_lite.recipe.variants import WrittenVariant, in_full, in_short
from mbt_lite.records import AskFor


class Model(Section):
    """The student."""

    name: str
    """Hub id, local folder, `embedded:smollm2-135m` (needs neither hub nor GPU), or `random:qwen3-4b` (random weights
    of a known architecture, to measure memory and speed)."""
    backend: Annotated[Literal["auto", "unsloth", "transformers"], Free] = "auto"
    """`auto`: in sft unsloth, where CUDA and unsloth are there, and in grpo for `rollout_engine: vllm`; everywhere else
    transformers + peft + bitsandbytes, whose rollouts and updates compute the prompt of a group once."""
    quantization: Literal["nf4", "none"] = "nf4"
    """`nf4`: 4-bit with double quantization (QLoRA). `none`: 16-bit, faster where it fits."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Compute precision; `auto`: bfloat16 where the device multiplies it natively, float16 on cards before Ampere (a
    T4), float32 elsewhere. float16 trains with a scaled loss, on cards only."""
    decode_graphs: Annotated[bool, Free] = False
    """Replay a step of rollouts as a CUDA graph, with `backend: transformers`; has not run on a card yet."""


# The names of all layouts there are; a type checker cannot follow.
if TYPE_CHECKING:
    LayoutName = str
else:
    LayoutName = Literal[(AUTO, *LAYOUTS)]


class Questions(Section):
    """Where questions come from."""

    path: str
    """A file, relative to the working directory, or `hub:owner/dataset[:config]`."""
    layout: LayoutName = AUTO
    """The reader; `auto` recognises it by the fields of the first record."""
    split: str | None = None
    """The split of a hub dataset; files have none."""
    answer_rule: Literal["auto", "text", "number"] = "auto"
    """How answers are compared: as text, or by their last number; `auto` is text, but for answers marked `#### 72`."""
    ask_for: AskFor = "answer"
    """What the student is asked to write beside its thoughts, in every stage, so the same for train and dev. `steps`: a
    plan over letters, then its steps, one a line, each ending in what was found (for `gen.kind: comt`, `grpo.ccrl`).
    `confidence`: a last line of thought that says how sure it is (for `gen.kind: confidence`, `grpo.confidence`)."""
    limit: PositiveInt | None = None
    """Keep this many questions, chosen by `data.seed`; none keeps all, in file order."""


class Data(Section):
    """The questions, and how long a prompt may be."""

    train: Questions
    """Questions that `gen`, `sft` and `grpo` learn from."""
    dev: Questions
    """Held-out questions that `eval` scores."""
    max_prompt_tokens: PositiveInt = 4096
    """Distractor documents are dropped until the prompt fits; a question that cannot fit is left out and counted."""
    seed: Seed = 0
    """Chooses which questions `limit` keeps."""


class Lora(Section):
    """The adapter, on all linear layers (LoRA Without Regret: attention alone is not enough)."""

    variant: Literal["lora", "rslora", "dora"] = "lora"
    """`lora` scales the update by alpha / rank, `rslora` by alpha / sqrt(rank) (arXiv 2312.03732: for large ranks);
    `dora` learns each row's length apart from its direction (arXiv 2402.09353: a little better, much slower)."""
    rank: Size = 32
    """Rank of the update."""
    alpha: PositiveInt = 32
    """Scales the update, see `variant`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    continue_from: str | None = None
    """Folder of an earlier adapter of this student (rank, alpha and variant alike) that `sft` trains further; none
    begins a fresh one."""


class Sampling(Section):
    """How the student samples its drafts; the defaults are the paper's."""

    temperature: Temperature = 0.6
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Nucleus."""
    top_k: NonNegativeInt = 20
    """0 switches it off."""


TraceKind = Literal[
    "mbt_r", "mbt_s", "self_distill", "teacher_distill", "direct_r", "distill_r", "meta_expert", "comt", "confidence"
]
ConfidenceFrom = Literal["agreement", "rate"]


class Gen(Section):
    """Stage `gen`: questions to traces."""

    kind: TraceKind = "mbt_r"
    """`mbt_r` rewrites the student's drafts, `mbt_s` writes from scratch; the others are controls: `self_distill` and
    `teacher_distill` keep right drafts as they are, `direct_r` rewrites the teacher's drafts, `distill_r` rewrites the
    student's without the five phases. `meta_expert`: forecasts by the student of its own tries, for `grpo.method:
    masa`. `comt`: plans over letters, which the student carries out itself. `confidence`: its most frequent answer,
    with how often such answers are right; the line that says so trains, with the tag after it."""
    rollouts_per_question: Size = 1
    """Drafts per question, of the student or (teacher_distill, direct_r) of the teacher; mbt_s has none.
    meta_expert has as many forecasts besides."""
    traces_per_draft: Size = 1
    """Traces per draft (mbt_r, direct_r, distill_r) or per question (mbt_s); a draft kept as it is is one."""
    trace_words: tuple[PositiveInt, PositiveInt] = (120, 300)
    """Fewest and most words of a trace, as the teacher is told; the gate holds rows to `sft.max_sequence_tokens`."""
    executed_share: Annotated[float, Field(ge=0, le=1), Free] = 0.25
    """Share of the questions whose plan (comt) has a second row that carries it out, chosen by `gen.seed`; made from
    the question's gold bridges, where the documents bear out one way to put them on the plan's letters."""
    plan_rows: Annotated[bool, Free] = True
    """Keep the plans themselves (comt); false: the executed rows alone, a control."""
    confidence_from: Annotated[ConfidenceFrom, Free] = "agreement"
    """What a row (confidence) states. `agreement`: how often answers on which as many drafts agree are right. `rate`:
    how many of the question's own drafts are right, for a student whose agreement tells nothing (gen says so)."""
    attempts: Annotated[PositiveInt, Free] = 1
    """Tries of one trace that the gate rejects, each with another seed; drafts kept as they are have one."""
    min_phases: Annotated[int, Field(ge=0, le=5), Free] = 4
    """Phases (of 5) that a five-phase trace must have, in their order; 0 asks for none."""
    trial_traces: Annotated[NonNegativeInt, Free] = 16
    """So many traces are asked for first, and no more if too few of them pass; 0 has no trial."""
    min_acceptance: Annotated[float, Field(ge=0, le=1), Free] = 0.3
    """Share of the trial's traces that must pass the gate; below, gen stops and says why."""
    sampling: Sampling = Sampling()
    """How the student's drafts are sampled."""
    max_completion_tokens: PositiveInt = 2048
    """Longest draft of the student; one that is cut off is not rewritten."""
    batch_size: Annotated[Size, Free] = 16
    """Drafts generated at once."""
    student_adapter: str | None = None
    """Folder of an adapter that the student drafts with; none: it drafts untrained."""
    replay: str | None = None
    """File of traces of an earlier run (`gen/traces.jsonl`): as many of its rows as there are new ones are mixed in, so
    that `sft` does not forget them."""
    student: GenStudent = GenStudent()
    """An endpoint that serves the student and writes its drafts."""
    seed: Seed = 0
    """Seeds drafts and teacher requests."""


class Eval(Section):
    """Stage `eval`: score variants of the student on held-out questions."""

    variants: tuple[WrittenVariant, ...] = ("base", "metacognitive", "sft", "grpo")
    """base and metacognitive (a five-phase system prompt) are untrained; sft and grpo use the adapters; any other is
    written out, `{name: ..., adapter: ..., prompt: ..., strategy: ...}`."""
    samples_per_question: Size = 1
    """Completions per question; from 2 on there are avg@k, maj@k and pass@k."""
    temperature: Temperature = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus; 1 switches it off, and greedy answers have none."""
    top_k: NonNegativeInt = 0
    """0 switches it off; greedy answers have none."""
    max_completion_tokens: PositiveInt = 2048
    """Longest completion; a longer one counts as degenerate."""
    foresight: bool = False
    """One greedy forecast a question besides (names, share right, length), held against its completions; rates want
    several `samples_per_question`."""
    confidence: tuple[Literal["stated", "answer_probability", "steps"], ...] = ()
    """How sure it is, read in these ways and held against what is right. `stated`: the line that `data.dev.ask_for:
    confidence` asks for. `answer_probability`: exp of the mean log-probability of the answer's tokens, at
    `temperature` (greedy: at 1). `steps`: the same of each step that `ask_for: steps` asks for, right if it is a gold
    bridge. With several `samples_per_question` their agreement is read, too."""
    without_evidence: bool = False
    """Each question once more without its supporting documents: is it less sure, does it answer `unknown`?"""
    batch_size: Annotated[Size, Free] = 16
    """Completions generated at once."""
    engine: Literal["local", "vllm"] = "local"
    """`local`: the student of `model.backend`; `vllm`: vLLM in this process, where it is installed."""
    student: EvalStudent = EvalStudent()
    """An endpoint that serves the student and answers."""
    aliases_path: Annotated[str | None, Free] = None
    """2Wiki's `id_aliases.json`: other right answers to the questions of `data.dev`, where that is a 2Wiki file."""
    seed: Seed = 0
    """Seeds sampling and bootstrap."""

    @field_validator("variants")
    @classmethod
    def _in_short(cls, variants: tuple[WrittenVariant, ...]) -> tuple[WrittenVariant, ...]:
        return tuple(map(in_short, variants))

    @property
    def full_variants(self) -> tuple[Variant, ...]:
        """Give the variants, short words written out."""
        return tuple(map(in_full, self.variants))


class Tracking(Section):
    """Where the numbers of `sft` and `grpo` go besides metrics.jsonl, which always has them."""

    tracker: Annotated[Literal["none", "tensorboard", "trackio", "wandb"], Free] = "none"
    """`tensorboard` writes event files into the stage's folder; `trackio` and `wandb` follow their own settings
    (environment, login), project mbt-lite."""


class Recipe(Section):
    """One method, whole."""

    model: Model
    """The student."""
    data: Data
    """The questions."""
    teacher: Teacher = Teacher()
    """Who writes the traces."""
    judge: Judge = Judge()
    """Who judges traces in `eval`."""
    lora: Lora = Lora()
    """The adapter."""
    gen: Gen = Gen()
    """Stage gen."""
    sft: Sft = Sft()
    """Stage sft."""
    grpo: Grpo = Grpo()
    """Stage grpo."""
    eval: Eval = Eval()
    """Stage eval."""
    tracking: Tracking = Tracking()
    """Where training's numbers go."""
