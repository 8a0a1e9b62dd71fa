// Files, stored answers and batches through the official JavaScript SDKs against BASE_URL with API_KEY; prints, as JSON,
// what each case saw.

import Anthropic from '@anthropic-ai/sdk';
import OpenAI, { toFile } from 'openai';

const { BASE_URL, API_KEY } = process.env;
const openai = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: API_KEY });
const anthropic = new Anthropic({ baseURL: BASE_URL, apiKey: API_KEY });
const messages = [{ role: 'user', content: 'Say hello' }];
const numbers = [1, 2, 3];

const soon = () => new Promise((resolve) => setTimeout(resolve, 200));

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

const cases = {
  files: async () => {
    const made = await openai.files.create({ file: await toFile(Buffer.from('some notes'), 'notes.txt'), purpose: 'user_data' });
    const content = await (await openai.files.content(made.id)).text();
    return [made, await openai.files.retrieve(made.id), content, await openai.files.delete(made.id)];
  },
  responses_retrieve: async () => {
    const made = await openai.responses.create({ model: 'gpt-5-mini', input: 'Say hello' });
    return [made, await openai.responses.retrieve(made.id), await openai.responses.delete(made.id)];
  },
  batches: async () => {
    const body = { model: 'gpt-4o-mini', messages, max_tokens: 40 };
    const lines = numbers.map((n) => JSON.stringify({ custom_id: `request-${n}`, method: 'POST', url: '/v1/chat/completions', body }));
    const file = await openai.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'requests.jsonl'), purpose: 'batch' });
    const made = await openai.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
    let batch = made;
    while (batch.status === 'in_progress') {
      await soon();
      batch = await openai.batches.retrieve(made.id);
    }
    const text = await (await openai.files.content(batch.output_file_id)).text();
    const results = text.trim().split('\n').map((line) => JSON.parse(line));
    for (const result of results) delete result.response.request_id;
    return [file, made, batch, results];
  },
  message_batches: async () => {
    const params = { model: 'claude-haiku-4-5', max_tokens: 40, messages };
    const made = await anthropic.messages.batches.create({ requests: numbers.map((n) => ({ custom_id: `request-${n}`, params })) });
    let batch = made;
    while (batch.processing_status === 'in_progress') {
      await soon();
      batch = await anthropic.messages.batches.retrieve(made.id);
    }
    return [made, { ...batch, results_url: null }, await all(await anthropic.messages.batches.results(batch.id))];
  },
};

const seen = {};
for (const [name, run] of Object.entries(cases)) seen[name] = await run();
process.stdout.write(JSON.stringify(seen));
