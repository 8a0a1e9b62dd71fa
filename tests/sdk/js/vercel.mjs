// Vercel's AI SDK, through its package for each provider.

import { createInterface } from "node:readline";
import { embedMany, generateImage, generateSpeech, generateText, jsonSchema, streamText, tool, transcribe } from "ai";

const QUESTION = "Say hello";
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = tool({ description: "The weather in a city", inputSchema: jsonSchema(schema) });

// A second of silence: WAV, 8,000 samples of 16 bits.
function sound() {
  const file = Buffer.alloc(44 + 16000);
  file.write("RIFF", 0);
  file.writeUInt32LE(36 + 16000, 4);
  file.write("WAVEfmt ", 8);
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, 8000, 4], [28, 16000, 4], [32, 2, 2], [34, 16, 2], [40, 16000, 4]].forEach(
    ([at, value, width]) => file.writeUIntLE(value, at, width),
  );
  file.write("data", 36);
  return new Uint8Array(file);
}

const PACKAGES = {
  anthropic: async (url, key) => (await import("@ai-sdk/anthropic")).createAnthropic({ baseURL: `${url}/v1`, apiKey: key }),
  google: async (url, key) =>
    (await import("@ai-sdk/google")).createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key }),
  mistral: async (url, key) => (await import("@ai-sdk/mistral")).createMistral({ baseURL: `${url}/v1`, apiKey: key }),
  cohere: async (url, key) => (await import("@ai-sdk/cohere")).createCohere({ baseURL: `${url}/v2`, apiKey: key }),
  xai: async (url, key) => (await import("@ai-sdk/xai")).createXai({ baseURL: `${url}/v1`, apiKey: key }),
  deepseek: async (url, key) => (await import("@ai-sdk/deepseek")).createDeepSeek({ baseURL: url, apiKey: key }),
  cerebras: async (url, key) =>
    (await import("@ai-sdk/cerebras")).createCerebras({ baseURL: `${url}/cerebras/v1`, apiKey: key }),
  kimi: async (url, key) => (await import("@ai-sdk/moonshotai")).createMoonshotAI({ baseURL: `${url}/v1`, apiKey: key }),
  qwen: async (url, key) =>
    (await import("@ai-sdk/alibaba")).createAlibaba({ baseURL: `${url}/compatible-mode/v1`, apiKey: key }),
  minimax: async (url, key) =>
    (await import("@ai-sdk/openai-compatible")).createOpenAICompatible({
      name: "minimax", baseURL: `${url}/v1`, apiKey: key,
    }),
  openai: async (url, key) => (await import("@ai-sdk/openai")).createOpenAI({ baseURL: `${url}/v1`, apiKey: key }),
};

async function run({ provider, operation, model, url, key }) {
  const made = await PACKAGES[provider](url, key);
  const chat = () => (provider === "openai" ? made.chat(model) : made(model));
  const told = ({ text, toolCalls, usage, finishReason }) => ({
    text, usage, finishReason, toolCalls: toolCalls.map(({ toolName, input }) => ({ toolName, input })),
  });
  switch (operation) {
    case "chat":
      return told(await generateText({ model: chat(), prompt: QUESTION, maxOutputTokens: 64 }));
    case "responses":
      return told(await generateText({ model: made.responses(model), prompt: QUESTION, maxOutputTokens: 64 }));
    case "tools":
      return told(await generateText({ model: chat(), prompt: "The weather in Paris?", maxOutputTokens: 64, tools: { weather } }));
    case "stream": {
      let failed;
      const stream = streamText({
        model: chat(), prompt: QUESTION, maxOutputTokens: 64, onError: ({ error }) => { failed = error; },
      });
      const pieces = [];
      for await (const piece of stream.textStream) pieces.push(piece);
      if (failed) throw failed;
      return { text: pieces.join(""), pieces: pieces.length > 1, finishReason: await stream.finishReason };
    }
    case "embeddings": {
      const { embeddings } = await embedMany({ model: made.embeddingModel(model), values: ["one text", "another"] });
      return embeddings;
    }
    case "speech": {
      const { audio } = await generateSpeech({ model: made.speech(model), text: "Hello", voice: "alloy" });
      return { sound: audio.base64, mediaType: audio.mediaType };
    }
    case "transcription": {
      const { text, durationInSeconds } = await transcribe({ model: made.transcription(model), audio: sound() });
      return { text, durationInSeconds };
    }
    case "images": {
      const { images } = await generateImage({
        model: made.image(model), prompt: "a fox", size: "1024x1024", providerOptions: { openai: { quality: "low" } },
      });
      return images.map(({ base64 }) => base64);
    }
  }
  throw new Error(operation);
}

for await (const line of createInterface({ input: process.stdin })) {
  let outcome;
  try {
    outcome = { result: await run(JSON.parse(line)) };
  } catch (error) {
    const last = error.lastError ?? error;
    outcome = { error: { kind: last.constructor.name, status: last.statusCode ?? last.status ?? null, text: String(last) } };
  }
  process.stdout.write(JSON.stringify(outcome) + "\n");
}
