"""`RunSpec`: everything a training run can be told. What a method or an adapter can be told stands in its own file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from luthier.spec.base import Component, Spec


def _sources(value: Any) -> Any:
    """`data.jsonl`, `{path: …}`, or a list of either."""
    if isinstance(value, (str, dict)):
        value = [value]
    if isinstance(value, (list, tuple)):
        return tuple({"path": item} if isinstance(item, str) else item for item in value)
    return value


class ModelSpec(Spec):
    path: str = "starter"
    """A folder in Hugging Face format, a Hugging Face id, or `starter` for the small model that comes with Luthier."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face id. Without effect, and refused, for a folder."""
    chat_template: str | None = None
    """A Jinja file that replaces the model's own chat template, or `plain` for a model that has none."""
    template_arguments: dict[str, Any] = {}
    """What the chat template is given besides the conversation, such as `{enable_thinking: false}`: in training, answers and chat alike."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class DataSource(Spec):
    path: str
    """A data file. Relative paths start from the current folder, in a run file too; the run's own `run.yaml` holds them whole."""
    format: str = "auto"
    """A name from `data/formats`, a Python file of your own, or `auto` to recognize it."""
    split: str | None = None
    """The part of the file to read, where it holds several: an array's name in a JSON object, or a value in a column `split`."""
    weight: float = Field(1.0, gt=0)
    """How often this set is drawn relative to the others: 2 shows each of its rows twice an epoch, 0.5 every other one."""


Sources = Annotated[tuple[DataSource, ...], BeforeValidator(_sources)]


class DataSpec(Spec):
    train: Sources = ()
    """What to learn from: a file, or a list of files with weights."""
    validation: Sources = ()
    """What to measure on. Never trained on."""
    validation_share: float = Field(0.0, ge=0, le=0.5)
    """Share of the training rows set aside (by seed) for validation when no validation file is given."""
    max_length: int | None = Field(None, ge=8)
    """Longest row in tokens. Default: the model's context."""
    too_long: Literal["refuse", "drop", "cut"] = "refuse"
    """What to do with a row longer than that: stop and name it, leave it out, or cut its end away. Counted in the record."""


class RewardSource(Component):
    """A reward: a name from `rewards`, with its settings, or `./mine.py:score`."""

    weight: float = 1.0
    """How much it counts beside the others; below 0 it is a price."""
    time_limit_s: float = Field(600.0, gt=0)
    """Longest time for a lot's answers, in seconds. Beyond it the run stops and says so."""


def _rewards(value: Any) -> Any:
    """`length`, `{name: …}`, or a list of either."""
    return (value,) if isinstance(value, (str, dict)) else value


RewardSources = Annotated[tuple[RewardSource, ...], BeforeValidator(_rewards)]


class OptimizerSpec(Spec):
    """AdamW with decoupled weight decay (Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101)."""

    learning_rate: float | None = Field(None, gt=0, le=1)
    """Peak rate. Default: the adapter's own (2e-4 for LoRA, 2e-5 for full tuning)."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after warm-up: along a cosine or a line to `final_share`, or not at all."""
    warmup_share: float = Field(0.03, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0 to its peak."""
    final_share: float = Field(0.1, ge=0, le=1)
    """Share of the peak rate that is left at the last step. Without effect, and refused, with `schedule: constant`."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled decay. Not applied to norms and biases."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment."""
    epsilon: float = Field(1e-8, gt=0)
    """Added to the denominator."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Gradients longer than this are scaled down to it; `null` turns clipping off."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Each layer further from the output learns this many times slower."""


class LoopSpec(Spec):
    epochs: int = Field(1, ge=1)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after so many optimizer steps, whatever `epochs` says."""
    batch_size: int = Field(16, ge=1)
    """Rows in each optimizer step."""
    token_budget: int | None = Field(None, ge=8)
    """Tokens computed at once. Changes memory and speed, never the result: a step is cut into as many streams as it needs. Default: 1,024
    on a CPU, 8,192 on an accelerator."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the computation. `auto` measures both on this machine, at this model's shape, for 0.2 s, and takes the faster."""
    gradient_checkpointing: bool = False
    """Keep only each layer's input and compute the rest again in the backward pass: less memory, about a third more time."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of the model's own layers (attention, residual) in training. An adapter's dropout is its own setting."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Order, initial weights, dropout and sampling all follow from it."""
    threads: int | None = Field(None, ge=1)
    """CPU threads. Default: all cores. Another number gives results that differ in the last bit."""


class EvaluationSpec(Spec):
    every: Annotated[int, Field(ge=1)] | Literal["epoch"] | None = None
    """Validate after so many steps, or at the end of each `epoch`. Default: ten times a run."""
    glance_every: int | None = Field(None, ge=1)
    """Look at a few validation rows after so many steps, besides: quick, and noisy. Default: never."""
    glance_rows: int = Field(16, ge=1)
    """How many rows such a look takes, others each time. Without effect, and refused, where there is none."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many validations without a better loss, and restore the best. Default: never stop early."""
    prompts: tuple[str, ...] = Field(
        ("Hello, who are you?", "What can you help me with?", "Tell me something about yourself."), max_length=16
    )
    """Fixed prompts whose answers are written to `samples.jsonl` at each validation. An empty list turns it off."""
    max_new_tokens: int = Field(48, ge=1)
    """Longest of those answers, in tokens."""
    compare: tuple[str, ...] = Field((), max_length=64)
    """Questions that base and tuned model both answer, greedily, at the end of the run: side by side in `comparison.jsonl`, on the page."""


class CheckpointSpec(Spec):
    every: int | None = Field(None, ge=1)
    """Save the full state, from which the run can go on bit for bit, after so many steps. Default: ten times a run."""
    keep_states: int = Field(2, ge=1)
    """How many full states (weights, optimizer, counters) to keep; older ones lose their optimizer state. `luthier verify` needs two."""
    keep_weights: int = Field(3, ge=1)
    """How many saved weights to keep. The best by validation loss is kept besides."""
    keep_best: int = Field(1, ge=1)
    """Of saved weights that were validated, how many of the best to keep besides."""
    keep_epochs: int = Field(0, ge=0)
    """Save at the end of each of the last so many epochs, too, and keep those weights besides."""


class PreflightSpec(Spec):
    """What is looked for before the model is loaded."""

    accept: tuple[str, ...] = ()
    """Warnings that are meant, by the code that stands behind them (`learning-rate`). They stay in the record, and no longer warn. Also
    `shared-rows`: rows that are learned and measured on, which are refused otherwise."""


class CertificateSpec(Spec):
    """The proof, in each run, that the fast gradient is the naive one."""

    rows: int = Field(4, ge=2, le=64)
    """Real rows that it is computed on."""
    tolerance: float = Field(1e-5, gt=0, le=1e-3)
    """Largest relative difference in fp32 beyond which the run stops."""


class ReportSpec(Spec):
    """Where metrics go besides `metrics.jsonl`. Each needs its package installed; nothing leaves the machine."""

    tensorboard: bool = False
    """Write TensorBoard event files into the run folder."""
    wandb: bool = False
    """Write a Weights & Biases offline run into the run folder."""
    mlflow: bool = False
    """Write an MLflow file store into the run folder."""


class RunSpec(Spec):
    """One training run. `luthier train sft --model M --data F key=value …` fills the same fields."""

    model: ModelSpec = ModelSpec()
    """What to start from."""
    data: DataSpec = DataSpec()
    """What to learn from and what to measure on."""
    method: Component = Component(name="sft")
    """How to learn: a name from `methods`, with its settings, or a Python file of your own."""
    reward: RewardSources = ()
    """What answers are worth, for methods that draw them (`ppo`, `grpo`): a reward, or a list of them with weights."""
    check: RewardSource | None = None
    """Another judge of the same answers, never learned from. Where the reward rises while it falls, the run stops."""
    adapter: Component = Component(name="lora")
    """Which weights learn: a name from `adapters`, with its settings."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """How the weights move."""
    train: LoopSpec = LoopSpec()
    """How long, how much at once, on what."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """When and what to measure."""
    checkpoints: CheckpointSpec = CheckpointSpec()
    """When to save, and how much to keep."""
    preflight: PreflightSpec = PreflightSpec()
    """Which warnings before a run are meant."""
    certificate: CertificateSpec = CertificateSpec()
    """How strictly exactness is checked."""
    report: ReportSpec = ReportSpec()
    """Metrics for other tools."""
    out: str | None = None
    """The run's folder. Default: `runs/<date>-<method>-<data>`."""
