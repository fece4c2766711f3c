"""A script that somebody wrote for OpenAI: a file, a job of one of OpenAI's models, an answer of what was tuned.

    python openai_script.py TRAIN.jsonl QUESTION

It knows nothing of Luthier: the server and the key come from OPENAI_BASE_URL and OPENAI_API_KEY. Its last line says in JSON how it went.
"""

import json
import sys
import time

from openai import OpenAI


def main(train: str, question: str) -> None:
    client = OpenAI()
    with open(train, "rb") as rows:
        file = client.files.create(file=rows, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4o-mini-2024-07-18")
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    told = {"status": job.status, "error": job.error and job.error.message, "model": job.fine_tuned_model}
    if job.fine_tuned_model is not None:
        asked = [{"role": "user", "content": question}]
        completion = client.chat.completions.create(model=job.fine_tuned_model, messages=asked, temperature=0, max_tokens=20)  # type: ignore[arg-type]
        told["answer"] = completion.choices[0].message.content
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
