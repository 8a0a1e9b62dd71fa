// The providers' own JavaScript SDKs, a job a line on standard input, its outcome a line on standard output.
// OpenAI's serves those who speak its dialect and have no SDK of their own.

import { createInterface } from "node:readline";

const QUESTION = [{ role: "user", content: "Say hello" }];
const WEATHER = [{ role: "user", content: "How is the weather in Paris?" }];
const PARAMETERS = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const TEXTS = ["one text", "another"];

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

async function openai({ operation, model, url, key }) {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
  const tools = [{ type: "function", function: { name: "weather", description: "The weather", parameters: PARAMETERS } }];
  switch (operation) {
    case "chat":
      return client.chat.completions.create({ model, messages: QUESTION, max_tokens: 64 });
    case "stream":
      return all(await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 64, stream: true }));
    case "tools":
      return client.chat.completions.create({ model, messages: WEATHER, max_tokens: 64, tools });
    case "responses":
      return client.responses.create({ model, input: "Say hello", max_output_tokens: 64 });
    case "responses stream":
      return all(await client.responses.create({ model, input: "Say hello", max_output_tokens: 64, stream: true }));
    case "embeddings":
      return client.embeddings.create({ model, input: TEXTS });
  }
  throw new Error(operation);
}

async function anthropic({ operation, model, url, key }) {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const { messages } = new Anthropic({ baseURL: url, apiKey: key });
  const tools = [{ name: "weather", description: "The weather", input_schema: PARAMETERS }];
  switch (operation) {
    case "chat":
      return messages.create({ model, max_tokens: 64, messages: QUESTION });
    case "stream":
      return all(await messages.create({ model, max_tokens: 64, messages: QUESTION, stream: true }));
    case "tools":
      return messages.create({ model, max_tokens: 64, messages: WEATHER, tools });
  }
  throw new Error(operation);
}

const OWN = { anthropic };

for await (const line of createInterface({ input: process.stdin })) {
  let outcome;
  try {
    const job = JSON.parse(line);
    outcome = { result: await (OWN[job.provider] ?? openai)(job) };
  } catch (error) {
    outcome = {
      error: { kind: error.constructor.name, status: error.status ?? error.statusCode ?? null, text: String(error) },
    };
  }
  process.stdout.write(JSON.stringify(outcome) + "\n");
}
