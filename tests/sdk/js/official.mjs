// The providers' own JavaScript SDKs, a job a line on standard input, its outcome a line on standard output.
// OpenAI's serves those who speak its dialect and have no SDK of their own.

import { createInterface } from "node:readline";

const QUESTION = [{ role: "user", content: "Say hello" }];
const WEATHER = [{ role: "user", content: "How is the weather in Paris?" }];
const PARAMETERS = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const FUNCTION = { type: "function", function: { name: "weather", description: "The weather", parameters: PARAMETERS } };
const TEXTS = ["one text", "another"];
const VOICE = "JBFqnCBsd6RMkjVDRZzb";

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
  return file;
}

function wav() {
  return new File([sound()], "a.wav", { type: "audio/wav" });
}

async function bytes(stream) {
  return Buffer.from(await new Response(stream).arrayBuffer()).toString("hex");
}

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

async function openai({ operation, model, url, key }) {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
  const tools = [FUNCTION];
  switch (operation) {
    case "chat":
      return client.chat.completions.create({ model, messages: QUESTION, max_tokens: 64 });
    case "stream":
      return all(await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 64, stream: true }));
    case "stream counted": {
      const counted = { stream: true, stream_options: { include_usage: true } };
      return all(await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 64, ...counted }));
    }
    case "tools":
      return client.chat.completions.create({ model, messages: WEATHER, max_tokens: 64, tools });
    case "responses":
      return client.responses.create({ model, input: "Say hello", max_output_tokens: 64 });
    case "responses stream":
      return all(await client.responses.create({ model, input: "Say hello", max_output_tokens: 64, stream: true }));
    case "embeddings":
      return client.embeddings.create({ model, input: TEXTS });
    case "speech":
      return bytes((await client.audio.speech.create({ model, voice: "alloy", input: "Hello" })).body);
    case "transcription":
      return client.audio.transcriptions.create({ file: wav(), model });
    case "transcription stream":
      return all(await client.audio.transcriptions.create({ file: wav(), model, stream: true }));
    case "translation":
      return client.audio.translations.create({ file: wav(), model });
    case "images":
      return client.images.generate({ model, prompt: "a fox", size: "1024x1024", quality: "low" });
    case "images stream":
      return all(
        await client.images.generate({
          model, prompt: "a fox", size: "1024x1024", quality: "low", stream: true, partial_images: 1,
        }),
      );
    case "images edit": {
      const image = [new File(["not a picture"], "a.png", { type: "image/png" })];
      return client.images.edit({ model, image, prompt: "a fox", size: "1024x1024", quality: "low" });
    }
  }
  throw new Error(operation);
}

async function anthropic({ operation, model, url, key }) {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const { messages } = new Anthropic({ baseURL: url, apiKey: key });
  const tools = [{ name: "weather", description: "The weather", input_schema: PARAMETERS }];
  switch (operation) {
    case "chat":
    case "messages":
      return messages.create({ model, max_tokens: 64, messages: QUESTION });
    case "stream":
    case "messages stream":
      return all(await messages.create({ model, max_tokens: 64, messages: QUESTION, stream: true }));
    case "tools":
      return messages.create({ model, max_tokens: 64, messages: WEATHER, tools });
  }
  throw new Error(operation);
}

async function cerebras({ operation, model, url, key }) {
  const { default: Cerebras } = await import("@cerebras/cerebras_cloud_sdk");
  const { completions } = new Cerebras({ baseURL: url, apiKey: key, warmTCPConnection: false }).chat;
  const asked = { model, messages: QUESTION, max_completion_tokens: 64 };
  switch (operation) {
    case "chat":
      return completions.create(asked);
    case "stream":
      return all(await completions.create({ ...asked, stream: true }));
    case "tools":
      return completions.create({ ...asked, messages: WEATHER, tools: [FUNCTION] });
  }
  throw new Error(operation);
}

async function mistral({ operation, model, url, key }) {
  const { Mistral } = await import("@mistralai/mistralai");
  const client = new Mistral({ serverURL: url, apiKey: key });
  const asked = { model, messages: QUESTION, maxTokens: 64 };
  switch (operation) {
    case "chat":
      return client.chat.complete(asked);
    case "stream":
      return (await all(await client.chat.stream(asked))).map((event) => event.data);
    case "tools":
      return client.chat.complete({ ...asked, messages: WEATHER, tools: [FUNCTION] });
    case "embeddings":
      return client.embeddings.create({ model, inputs: TEXTS });
    case "speech":
      return client.audio.speech.complete({ model, input: "Hello", voiceId: "a-voice" });
    case "speech stream":
      return (await all(await client.audio.speech.complete({ model, input: "Hello", voiceId: "a-voice", stream: true })))
        .map((event) => event.data);
    case "transcription":
      return client.audio.transcriptions.complete({ model, file: { fileName: "a.wav", content: sound() } });
    case "transcription stream":
      return (await all(await client.audio.transcriptions.stream({ model, file: { fileName: "a.wav", content: sound() } })))
        .map((event) => event.data);
    case "fim":
      return client.fim.complete({ model, prompt: "def f(", suffix: "return x", maxTokens: 64 });
  }
  throw new Error(operation);
}

async function google({ operation, model, url, key }) {
  const { GoogleGenAI, Type } = await import("@google/genai");
  const { models } = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const config = { maxOutputTokens: 64 };
  const asked = { model, contents: "Say hello", config };
  const parameters = { type: Type.OBJECT, properties: { city: { type: Type.STRING } }, required: ["city"] };
  const tools = [{ functionDeclarations: [{ name: "weather", description: "The weather", parameters }] }];
  // The SDK adds its transport's headers to every answer; what the model said is the rest.
  const said = ({ sdkHttpResponse, ...rest }) => rest;
  switch (operation) {
    case "chat":
      return said(await models.generateContent(asked));
    case "stream":
      return (await all(await models.generateContentStream(asked))).map(said);
    case "tools":
      return said(await models.generateContent({ ...asked, config: { ...config, tools } }));
    case "embeddings":
      return said(await models.embedContent({ model, contents: TEXTS }));
  }
  throw new Error(operation);
}

async function cohere({ operation, model, url, key }) {
  const { CohereClientV2 } = await import("cohere-ai");
  const client = new CohereClientV2({ token: key, environment: url });
  const asked = { model, messages: QUESTION, maxTokens: 64 };
  switch (operation) {
    case "chat":
      return client.chat(asked);
    case "stream":
      return all(await client.chatStream(asked));
    case "tools":
      return client.chat({ ...asked, messages: WEATHER, tools: [FUNCTION] });
    case "embeddings":
      return client.embed({ model, texts: TEXTS, inputType: "search_query", embeddingTypes: ["float"] });
    case "rerank":
      return client.rerank({ model, query: "a city", documents: ["Paris", "a cat"] });
  }
  throw new Error(operation);
}

async function elevenlabs({ operation, model, url, key }) {
  const { ElevenLabsClient } = await import("@elevenlabs/elevenlabs-js");
  const client = new ElevenLabsClient({ apiKey: key, baseUrl: url });
  switch (operation) {
    case "speech":
      return bytes(await client.textToSpeech.convert(VOICE, { text: "Hello", modelId: model }));
    case "speech stream":
      return all(await client.textToSpeech.streamWithTimestamps(VOICE, { text: "Hello", modelId: model }));
    case "speech timed":
      return client.textToSpeech.convertWithTimestamps(VOICE, { text: "Hello", modelId: model });
    case "dialogue": {
      const inputs = [{ text: "Hello", voiceId: VOICE }, { text: "Goodbye", voiceId: VOICE }];
      return bytes(await client.textToDialogue.convert({ inputs, modelId: model }));
    }
    case "sounds":
      return bytes(await client.textToSoundEffects.convert({ text: "rain", durationSeconds: 1 }));
    case "music":
      return bytes(await client.music.compose({ prompt: "a song", musicLengthMs: 10000 }));
    case "voice changer":
      return bytes(await client.speechToSpeech.convert(VOICE, { audio: wav(), modelId: model }));
    case "isolation":
      return bytes(await client.audioIsolation.convert({ audio: wav() }));
    case "transcription":
      return client.speechToText.convert({ modelId: model, file: wav() });
  }
  throw new Error(operation);
}

async function deepgram({ operation, model, url, key }) {
  const { DeepgramClient } = await import("@deepgram/sdk");
  const client = new DeepgramClient({ apiKey: key, baseUrl: url });
  switch (operation) {
    case "speech":
      return bytes((await client.speak.v1.audio.generate({ text: "Hello", model })).stream());
    case "transcription":
      return client.listen.v1.media.transcribeFile(sound(), { model });
    case "reading":
      return client.read.v1.text.analyze({ body: { text: "A text to read." }, summarize: "v2", topics: true });
  }
  throw new Error(operation);
}

const OWN = { anthropic, cerebras, mistral, google, cohere, elevenlabs, deepgram };

for await (const line of createInterface({ input: process.stdin })) {
  let outcome;
  try {
    const job = JSON.parse(line);
    const others = job.operation.startsWith("openai ");
    if (others) job.operation = job.operation.slice("openai ".length);
    const speak = others ? openai : job.operation.startsWith("messages") ? anthropic : (OWN[job.provider] ?? openai);
    outcome = { result: await speak(job) };
  } catch (error) {
    outcome = {
      error: { kind: error.constructor.name, status: error.status ?? error.statusCode ?? null, text: String(error) },
    };
  }
  process.stdout.write(JSON.stringify(outcome) + "\n");
}
