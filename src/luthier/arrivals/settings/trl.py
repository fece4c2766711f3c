"""TRL: the YAML that `trl sft --config` takes, transformers' arguments as JSON, and scripts that call its trainers.

Names and defaults as of TRL 1.16.
"""

from pathlib import Path
from typing import Any

from luthier.arrivals import trainer, trainer_keys
from luthier.arrivals.documents import Document
from luthier.arrivals.sheet import Sheet
from luthier.arrivals.trl_keys import AUTOMATIC, MISSED

NAME = "TRL"

MARKS = (
    "model_name_or_path",
    "per_device_train_batch_size",
    "num_train_epochs",
    "use_peft",
    "dataset_name",
    "lora_target_modules",
    "max_completion_length",
    "num_generations",
    "learning_rate",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "bf16",
    "output_dir",
    "completion_only_loss",
    "assistant_only_loss",
    "dataset_train_split",
    "logging_steps",
)
NOT_ITS = ("stage", "finetuning_type", "base_model", "cutoff_len", "base", "task", "micro_batch_size")

RATES = {"sft": 2e-5, "dpo": 1e-6, "kto": 1e-6, "orpo": 1e-6, "grpo": 1e-6, "reward_model": 1e-4, "pretrain": 2e-5, "ppo": 3e-6}
"""Peak rates where none is said."""
TRAINERS = {"SFT": "sft", "DPO": "dpo", "KTO": "kto", "ORPO": "orpo", "GRPO": "grpo", "Reward": "reward_model"}
ROLLOUTS = {
    "num_generations": "method.group",
    "max_completion_length": "method.rollout.max_new_tokens",
    "temperature": "method.rollout.temperature",
    "num_iterations": "method.rollout.passes",
    "epsilon": "method.clip",
    "epsilon_high": "method.clip_high",
    "beta": "method.kl",
    "num_generations_eval": "method.validation_answers",
}
LOSSES = {"sigmoid": "sigmoid", "ipo": "ipo"}


def recognizes(document: Document) -> int:
    """Its marks in a file that is not another tool's."""
    if document.is_script:
        return sum(
            call.rpartition(".")[2] in ("TrainingArguments", "LoraConfig") or call.startswith(tuple(TRAINERS)) for call in document.calls
        )
    if any(key in document.values for key in NOT_ITS):
        return 0
    return sum(key in document.values for key in MARKS)


def translate(sheet: Sheet) -> None:
    """Everything of it."""
    method = sheet.values["method.name"] = which_method(sheet)
    sheet.notes["method.name"] = _how_known(sheet, method)
    model(sheet)
    data(sheet, method)
    of_method(sheet, method)
    trainer.common(sheet, rate=RATES.get(method, 2e-5))
    adapter(sheet)
    if method == "grpo":
        trainer.on_policy(sheet)
    sheet.leave({**AUTOMATIC, **trainer_keys.BY_ITSELF})
    sheet.miss({**MISSED, **trainer_keys.NOTHING_LIKE_IT})


def which_method(sheet: Sheet) -> str:
    """By what was said, by the script's trainer, by keys that only one method has, by the file's name; else `sft`."""
    if sheet.method:
        return sheet.method
    for call in sheet.document.calls:
        name = call.rpartition(".")[2]
        for word, method in TRAINERS.items():
            if name in (f"{word}Trainer", f"{word}Config"):
                return method
    for key, method in (
        ("num_generations", "grpo"),
        ("max_completion_length", "grpo"),
        ("reward_funcs", "grpo"),
        ("desirable_weight", "kto"),
        ("undesirable_weight", "kto"),
        ("center_rewards_coefficient", "reward_model"),
        ("reward_model_name_or_path", "grpo"),
        ("precompute_ref_log_probs", "dpo"),
        ("rpo_alpha", "dpo"),
        ("max_prompt_length", "dpo"),
        ("label_smoothing", "dpo"),
    ):
        if sheet.get(key) is not None:
            return method
    stem = Path(sheet.document.path).stem.lower()
    for word, method in (("grpo", "grpo"), ("dpo", "dpo"), ("kto", "kto"), ("orpo", "orpo"), ("reward", "reward_model"), ("sft", "sft")):
        if word in stem:
            return method
    return "dpo" if sheet.get("beta") is not None else "sft"


def _how_known(sheet: Sheet, method: str) -> str:
    if sheet.method:
        return "as you said"
    if sheet.document.is_script and any(call.rpartition(".")[2].startswith(tuple(TRAINERS)) for call in sheet.document.calls):
        return "the trainer that the script calls"
    sheet.differs(f"TRL names the trainer on its command line, not in the file: taken for `{method}`. Another one: `--method NAME`.")
    return "taken for this by its keys and name"


def model(sheet: Sheet, key: str = "model_name_or_path") -> None:
    """What it starts from."""
    if sheet.get(key) is None:
        sheet.default(key, "model.path", "starter", "the file names no model: give yours")
        sheet.ask(key, "the file names no model: set `model.path`")
    else:
        sheet.put("model.path", str(sheet.get(key)), key, same=True)
    revision = sheet.get("model_revision")
    if revision not in (None, "main"):
        sheet.put("model.revision", str(revision), "model_revision", same=True)
    sheet.leave({"model_revision": "the main branch"})


def data(sheet: Sheet, method: str) -> None:
    """Files, or ids of sets that have to be fetched first; longest row."""
    name = sheet.first("dataset_name", "dataset_id_or_path")
    mixture = sheet.first("datasets", "dataset_mixture.datasets")
    if mixture is not None and isinstance(sheet.get(mixture), list):
        sheet.put("data.train", [_source(entry) for entry in sheet.get(mixture)], mixture, text="ids: fetch them, then name their files")
        sheet.ask(mixture, "nothing is downloaded by itself: `hf download ID --repo-type dataset --local-dir FOLDER`, then name the files")
    elif name is not None:
        fetched(sheet, "data.train", name, str(sheet.get(name)))
    elif mixer := [key for key in sheet.document.flat if key.startswith("dataset_mixer.")]:
        sheet.put(
            "data.train",
            [_source({"path": key.partition(".")[2], "weight": sheet.get(key)}) for key in mixer],
            *mixer,
            text="ids: fetch them",
        )
        sheet.ask(
            "dataset_mixer", "nothing is downloaded by itself: `hf download ID --repo-type dataset --local-dir FOLDER`, then name the files"
        )
    split = sheet.get("dataset_train_split")
    if split not in (None, "train"):
        sheet.ask("dataset_train_split", f"name the file that holds the split `{split}`, or set `data.train[0].split`")
    sheet.leave(dict.fromkeys(("dataset_train_split", "dataset_splits"), "files are named by themselves"))
    if method == "grpo":
        sheet.leave({"max_length": "answers have a limit of their own"})
        return
    limit, cut = sheet.first("max_length", "max_seq_length"), "drop" if method == "reward_model" else "cut"
    if limit is not None:
        sheet.put("data.max_length", sheet.get(limit), limit, same=True)
    elif not (sheet.document.is_script or sheet.tool != NAME):
        sheet.default("max_length", "data.max_length", 1024)
    sheet.default(
        "truncation",
        "data.too_long",
        cut,
        "longer rows are left out, as there" if cut == "drop" else "longer rows are cut at their end, as there",
    )
    sheet.differs(
        "Rows longer than the limit are cut there without a word, answers with them. "
        "The same is done here, counted; a preflight stops above 5 %."
    )


def fetched(sheet: Sheet, to: str, key: str, name: str) -> None:
    """A data set by its id: nothing is downloaded by itself. A path stays."""
    is_file = Path(name).suffix in (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".gz") or Path(name).exists()
    sheet.put(to, name, key, same=is_file, text="" if is_file else "an id: fetch it, then name its files here")
    if not is_file:
        sheet.ask(
            key,
            f"nothing is downloaded by itself: `hf download {name} --repo-type dataset --local-dir FOLDER`, then name its files in `{to}`",
        )


def _source(entry: Any) -> dict[str, Any]:
    """An element of a mixture: where it is, and how often it is drawn."""
    if not isinstance(entry, dict):
        return {"path": str(entry)}
    found: dict[str, Any] = {"path": str(entry.get("path") or entry.get("id") or entry.get("name") or "train.jsonl")}
    weight = entry.get("weight")
    return {**found, "weight": float(weight)} if isinstance(weight, int | float) and weight > 0 and weight != 1 else found


def of_method(sheet: Sheet, method: str) -> None:
    """Which loss, with its strength."""
    if method in ("sft", "pretrain"):
        supervised(sheet)
    elif method in ("dpo", "kto", "orpo"):
        preferences(sheet, method)
    elif method == "grpo":
        rewards(sheet)
    elif method == "reward_model":
        _reward_model(sheet)


def supervised(sheet: Sheet) -> None:
    """Which tokens are learned."""
    only, assistant = sheet.get("completion_only_loss"), sheet.get("assistant_only_loss")
    if only is False:
        sheet.put("method.prompt_weight", 1.0, "completion_only_loss", text="prompts are learned, too")
    sheet.leave({"completion_only_loss": "answers alone are learned", "assistant_only_loss": "answers alone are learned"})
    if "train_on_responses_only" in sheet.document.calls:
        return
    if only is None and assistant is not True:
        sheet.differs(
            "TRL learns every token of a conversation, the user's too, unless `assistant_only_loss` is set; of prompts with completions "
            "the completion alone. Here answers alone are learned. `method.prompt_weight: 1` learns all."
        )
    loss = sheet.get("loss_type")
    if loss not in (None, "nll"):
        sheet.missed("loss_type", "the loss is the plain negative log-likelihood")
    sheet.leave({"loss_type": "the same"})


def preferences(sheet: Sheet, method: str) -> None:
    """β and the loss."""
    if method == "orpo":
        sheet.carry({"beta": "method.odds_weight"})
        return
    sheet.carry({"beta": "method.beta"})
    sheet.default("beta", "method.beta", 0.1)
    if method == "kto":
        sheet.carry({"desirable_weight": "method.good_weight", "undesirable_weight": "method.bad_weight"})
        if sheet.get("loss_type") not in (None, "kto"):
            sheet.missed("loss_type", "the loss is that of the paper")
        sheet.leave({"loss_type": "the same"})
        return
    loss = sheet.get("loss_type")
    word = loss[0] if isinstance(loss, list) and len(loss) == 1 else loss
    if word in LOSSES:
        sheet.put("method.loss", word, "loss_type", same=True)
    elif word is not None:
        sheet.missed("loss_type", "one of `sigmoid` and `ipo`; `sigmoid` is used")
    if sheet.values.get("method.loss") == "ipo":
        sheet.leave({"label_smoothing": "without effect with `ipo`"})
        sheet.differs("TRL's `ipo` averages log-probabilities over an answer's tokens; here they are summed, as in the paper.")
    sheet.carry({"label_smoothing": "method.label_smoothing"})


def rewards(sheet: Sheet) -> None:
    """Groups, drawing, clipping."""
    sheet.carry(ROLLOUTS)
    sheet.default("num_generations", "method.group", 8)
    sheet.default("max_completion_length", "method.rollout.max_new_tokens", 512)
    loss = {"grpo": "answer", "dapo": "token", "bnpo": "token", "dr_grpo": "constant"}.get(str(sheet.get("loss_type", "dapo")))
    if sheet.get("loss_type") is not None:
        if loss is None:
            sheet.missed("loss_type", "the loss is averaged as `method.average` says: answer, token or constant")
        else:
            sheet.put("method.average", loss, "loss_type")
    scale = sheet.get("scale_rewards")
    if scale is not None:
        word = {True: "group", False: "none", "group": "group", "batch": "batch", "none": "none"}.get(scale, "group")
        sheet.put("method.scale", word, "scale_rewards", same=word == scale)
    if sheet.get("mask_truncated_completions") is not None:
        dropped = "drop" if sheet.get("mask_truncated_completions") else "keep"
        sheet.put("method.unfinished", dropped, "mask_truncated_completions")
    prompts(sheet)
    reward(sheet)


def prompts(sheet: Sheet) -> None:
    """TRL counts answers in a step, of which a group is one prompt's."""
    each, times = sheet.get("per_device_train_batch_size", 8), sheet.get("gradient_accumulation_steps", 1)
    group, spread = sheet.values["method.group"], sheet.get("steps_per_generation", times)
    if all(isinstance(n, int) for n in (each, times, group, spread)) and group:
        sheet.default(
            "prompts of a lot",
            "method.rollout.prompts",
            max(1, each * spread * sheet.devices // group),
            "answers drawn at once / answers to a prompt",
        )
    sheet.leave({"steps_per_generation": "answers of a lot are drawn at once"})


def reward(sheet: Sheet) -> None:
    """Rewards are functions of the script's, or models."""
    key = sheet.first("reward_funcs", "reward_model_name_or_path", "reward_funcs_names")
    sheet.default("reward_funcs", "reward", [{"name": "./rewards.py:score"}], "write it: score(prompt, answer, item) gives a number")
    sheet.ask(
        key or "reward_funcs",
        "write what answers are worth as `score(prompt, answer, item)` in rewards.py, or name a reward (docs/how-to/reinforcement.md)",
    )
    if key:
        sheet.taken.add(key)
    sheet.miss({"reward_weights": "give each reward its `weight`"})


def _reward_model(sheet: Sheet) -> None:
    sheet.carry({"center_rewards_coefficient": "method.center"})
    sheet.default("center_rewards_coefficient", "method.center", 0.0)


def adapter(sheet: Sheet) -> None:
    """LoRA where it is asked for, else every weight."""
    if sheet.get("use_peft") is True or (sheet.get("use_peft") is None and sheet.first("lora_r", "lora_alpha") is not None):
        sheet.put("adapter.name", "lora", *(["use_peft"] if sheet.get("use_peft") is not None else []))
        keys = {"r": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "lora_target_modules", "rslora": "use_rslora"}
        trainer.lora(sheet, keys, 16, 32, 0.05, "what PEFT's table has for the model, often q_proj and v_proj")
        return
    sheet.put("adapter.name", "full", *(["use_peft"] if sheet.get("use_peft") is not None else []), text="without PEFT every weight learns")
    reason = "without `use_peft` it does nothing there, either"
    sheet.leave(
        dict.fromkeys(("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "use_rslora", "lora_task_type", "use_dora"), reason)
    )
