// A user of OpenAI's Node SDK: a file, a job, its events, and questions to what came of it. Run from the folder that holds node_modules:
//     node --input-type=module - TRAIN.jsonl QUESTION < jobs.mjs
// It prints what it was told as JSON. The server and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.
import { File } from "node:buffer";
import { createReadStream, readFileSync } from "node:fs";
import OpenAI from "openai";

globalThis.File ??= File; // Node 18 keeps it in a module of its own

const [train, question] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const told = { statuses: [] };

const file = await client.files.create({ file: createReadStream(train), purpose: "fine-tune" });
await client.files.waitForProcessing(file.id);
told.sameBytes = (await (await client.files.content(file.id)).text()) === readFileSync(train, "utf8");

const method = { type: "supervised", supervised: { hyperparameters: { n_epochs: 8 } } };
let job = await client.fineTuning.jobs.create({ model: "starter", training_file: file.id, suffix: "node", method, metadata: { by: "node" } });
while (job.status !== told.statuses.at(-1) || !["succeeded", "failed", "cancelled"].includes(job.status)) {
  if (job.status !== told.statuses.at(-1)) told.statuses.push(job.status);
  await new Promise((wake) => setTimeout(wake, 500));
  job = await client.fineTuning.jobs.retrieve(job.id);
}
told.model = job.fine_tuned_model;

told.events = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 40 })) told.events.push(event.message);
told.checkpoints = [];
for await (const checkpoint of client.fineTuning.jobs.checkpoints.list(job.id)) told.checkpoints.push(checkpoint.fine_tuned_model_checkpoint);
told.results = await (await client.files.content(job.result_files[0])).text();

const asked = { model: job.fine_tuned_model, messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 20 };
told.answer = (await client.chat.completions.create(asked)).choices[0].message.content;
told.streamed = await client.chat.completions.stream(asked).finalContent();
told.response = (await client.responses.create({ model: job.fine_tuned_model, input: question, temperature: 0, max_output_tokens: 20 })).output_text;

told.refused = await client.fineTuning.jobs.retrieve("ftjob-nothing").catch((error) => [error instanceof OpenAI.NotFoundError, error.code]);
told.deleted = (await client.files.delete(file.id)).deleted;
console.log(JSON.stringify(told));
