"""What lm-eval measures, in its own process and of a server that speaks OpenAI's interface. Runs in lm-eval's own environment.

    python lm_eval_figures.py '{"choices bos": ["FOLDER", "NAME"], …}'

Run it where the tasks lie: `choices` asks /v1/completions how likely endings are, `answers` asks /v1/chat/completions. FOLDER holds the
model that the server calls NAME. `bos`: questions begin with the BOS token; `bare`: they do not, which is what lm-eval takes for granted
of a server. The server and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.
Its last line is what came out, as JSON: for each task the figures, and what was measured of each row, in-process and of the server.
"""

import json
import os
import sys
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

SERVED = {"choices": ("local-completions", "completions"), "answers": ("local-chat-completions", "chat/completions")}
"""The task, by which of lm-eval's clients it is asked, and where."""


def measured(task: str, tasks: TaskManager, client: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The figures of one task, and of each row in its order what the model said of it."""
    chat = task == "answers"
    done = simple_evaluate(
        model=client, model_args=arguments, tasks=[task], task_manager=tasks, apply_chat_template=chat, bootstrap_iters=0
    )
    rows = sorted(done["samples"][task], key=lambda row: row["doc_id"])
    figures = {name: value for name, value in done["results"][task].items() if isinstance(value, float)}
    return {"figures": figures, "rows": [[said for (said,) in row["resps"]] for row in rows]}


def main(wanted: str) -> None:
    tasks, told = TaskManager(include_path=".", include_defaults=False), {}
    for what, (folder, name) in json.loads(wanted).items():
        task, begin, *_ = what.split()
        client, path = SERVED[task]
        bos = {"add_bos_token": begin == "bos"} if task == "choices" else {}
        mine = {"pretrained": folder, "dtype": "float32", "device": "cpu", **bos}
        served = {"model": name, "tokenizer": folder, "base_url": f"{os.environ['OPENAI_BASE_URL']}/{path}", "num_concurrent": 4, **bos}
        told[what] = {"in_process": measured(task, tasks, "hf", mine), "served": measured(task, tasks, client, served)}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
