// Runs the official JavaScript SDKs against BASE_URL with API_KEY and prints, as JSON, what they saw.
//
//     node conformance.mjs answers            every case's result
//     node conformance.mjs refusals [NAME…]   what they raise, and how many requests that took

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const { BASE_URL, API_KEY } = process.env;
const GPT = 'gpt-4o-mini';
const CLAUDE = 'claude-sonnet-5-5';
const messages = [{ role: 'user', content: 'Say hello - ¡olé! 🦊' }];
const schema = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer', minimum: 2 } },
  required: ['city', 'days'],
  additionalProperties: false,
};
const tools = [{ type: 'function', function: { name: 'weather', parameters: schema } }];
const flatTools = [{ type: 'function', name: 'weather', parameters: schema, strict: true }];
const claudeTools = [{ name: 'weather', input_schema: schema }];
const image = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';

let requests = 0;
const counting = (...request) => {
  requests += 1;
  return fetch(...request);
};
const openai = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: API_KEY, fetch: counting });
const anthropic = new Anthropic({ baseURL: BASE_URL, apiKey: API_KEY, fetch: counting });

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

const answers = {
  chat: () => openai.chat.completions.create({ model: GPT, messages, temperature: 0.5 }),
  chat_stream: async () => all(await openai.chat.completions.create({ model: GPT, messages, stream: true })),
  chat_stream_usage: async () =>
    all(
      await openai.chat.completions.create({
        model: GPT,
        messages,
        stream: true,
        stream_options: { include_usage: true },
      }),
    ),
  chat_helper: () => openai.chat.completions.stream({ model: GPT, messages }).finalChatCompletion(),
  chat_tools: () => openai.chat.completions.create({ model: GPT, messages, tools }),
  chat_tools_stream: () => openai.chat.completions.stream({ model: GPT, messages, tools }).finalChatCompletion(),
  chat_tool_result: () =>
    openai.chat.completions.create({
      model: GPT,
      tools,
      messages: [
        ...messages,
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
      ],
    }),
  chat_image: () =>
    openai.chat.completions.create({
      model: 'gpt-4o',
      messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: image, detail: 'low' } }] }],
    }),
  chat_request_id: async () => {
    const { data, request_id } = await openai.chat.completions.create({ model: GPT, messages }).withResponse();
    return { data, request_id };
  },
  completions: () => openai.completions.create({ model: 'gpt-3.5-turbo-instruct', prompt: 'Once', max_tokens: 9 }),
  responses: () => openai.responses.create({ model: 'gpt-5', input: 'Say hello', instructions: 'Be brief.' }),
  responses_stream: async () => all(await openai.responses.create({ model: 'gpt-5', input: 'Hello', stream: true })),
  responses_tools: () =>
    openai.responses.stream({ model: 'gpt-5', input: 'Weather?', tools: flatTools }).finalResponse(),
  embeddings: () => openai.embeddings.create({ model: 'text-embedding-3-small', input: ['a cat', 'a dog'] }),
  openai_models: async () => [await all(openai.models.list()), await openai.models.retrieve('gpt-4o')],
  messages: () => anthropic.messages.create({ model: CLAUDE, max_tokens: 50, messages, system: 'Be brief.' }),
  messages_stream: async () =>
    all(await anthropic.messages.create({ model: CLAUDE, max_tokens: 50, messages, stream: true })),
  messages_helper: () => anthropic.messages.stream({ model: CLAUDE, max_tokens: 50, messages }).finalMessage(),
  messages_tools: () => anthropic.messages.create({ model: CLAUDE, max_tokens: 50, messages, tools: claudeTools }),
  messages_tools_stream: () =>
    anthropic.messages.stream({ model: CLAUDE, max_tokens: 50, messages, tools: claudeTools }).finalMessage(),
  messages_tool_result: () =>
    anthropic.messages.create({
      model: CLAUDE,
      max_tokens: 50,
      tools: claudeTools,
      messages: [
        ...messages,
        { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'sunny' }] },
      ],
    }),
  messages_thinking: () =>
    anthropic.messages
      .stream({ model: CLAUDE, max_tokens: 2000, messages, thinking: { type: 'enabled', budget_tokens: 1024 } })
      .finalMessage(),
  messages_cache: () =>
    anthropic.messages.create({
      model: CLAUDE,
      max_tokens: 50,
      messages,
      system: [{ type: 'text', text: 'word '.repeat(2000), cache_control: { type: 'ephemeral', ttl: '1h' } }],
    }),
  messages_beta: () =>
    anthropic.beta.messages.create({ model: CLAUDE, max_tokens: 50, messages, betas: ['one-2026', 'two-2027'] }),
  count_tokens: () => anthropic.messages.countTokens({ model: CLAUDE, messages, tools: claudeTools }),
  anthropic_models: async () => [
    await all(anthropic.models.list({ limit: 2 })),
    await anthropic.models.retrieve(CLAUDE),
  ],
};

const refusals = {
  chat: answers.chat,
  chat_stream: answers.chat_stream,
  responses: answers.responses,
  responses_stream: answers.responses_stream,
  embeddings: answers.embeddings,
  messages: answers.messages,
  messages_stream: answers.messages_stream,
  messages_helper: answers.messages_helper,
};

async function refused(call) {
  const before = requests;
  try {
    await call();
  } catch (error) {
    return {
      kind: error.constructor.name,
      openai: error instanceof OpenAI.APIError,
      anthropic: error instanceof Anthropic.APIError,
      status: error.status,
      code: error.code ?? null,
      type: error.type ?? null,
      body: error.error,
      requests: requests - before,
    };
  }
  return { kind: null, requests: requests - before };
}

const [, , what, ...names] = process.argv;
const results = {};
if (what === 'answers') {
  for (const [name, call] of Object.entries(answers)) results[name] = await call();
} else {
  for (const name of names.length ? names : Object.keys(refusals)) results[name] = await refused(refusals[name]);
}
process.stdout.write(JSON.stringify(results));
