// Runs the official JavaScript SDKs' WebSockets against BASE_URLS (JSON, by provider) with API_KEY and prints, as JSON,
// what they saw: `{case: {events}}`, or `{case: {error}}` where they raised.
//
//     node sockets.mjs [CASE…]

import { DeepgramClient } from '@deepgram/sdk';
import { ElevenLabsClient } from '@elevenlabs/elevenlabs-js';
import { GoogleGenAI, Modality } from '@google/genai';
import OpenAI from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import WebSocket from 'ws';

const { API_KEY } = process.env;
const URLS = JSON.parse(process.env.BASE_URLS);
const pcm = Buffer.alloc(32000, Buffer.from(Array.from({ length: 200 }, (_, at) => at + 1)));
const DEADLINE_MS = 30000;

// What a client that waits for an end that never comes would do: nothing, for ever.
function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('nothing came any more')), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function realtime(connection, events) {
  return new Promise((resolve, reject) => {
    connection.on('event', (event) => {
      events.push(event);
      if (event.type === 'session.created') {
        connection.send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'] } });
        connection.send({
          type: 'conversation.item.create',
          item: { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Say hello - ¡olé! 🦊' }] },
        });
        connection.send({ type: 'response.create' });
      }
      if (event.type === 'rate_limits.updated') {
        connection.close();
        resolve();
      }
    });
    connection.on('error', reject);
  });
}

const cases = {
  openai_ws: async (events) => {
    const client = new OpenAI({ baseURL: `${URLS.openai}/v1`, apiKey: API_KEY });
    await realtime(new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client), events);
  },
  // As in a browser: the key is a subprotocol, for a browser's socket sends no headers.
  openai_browser: async (events) => {
    globalThis.WebSocket = WebSocket;
    const client = new OpenAI({ baseURL: `${URLS.openai}/v1`, apiKey: API_KEY, dangerouslyAllowBrowser: true });
    await realtime(
      new OpenAIRealtimeWebSocket({ model: 'gpt-realtime', dangerouslyAllowBrowser: true }, client),
      events,
    );
  },
  google_live: async (events) => {
    const client = new GoogleGenAI({ apiKey: API_KEY, httpOptions: { baseUrl: URLS.google } });
    let done, failed;
    const ended = new Promise((resolve, reject) => {
      done = resolve;
      failed = reject;
    });
    const session = await client.live.connect({
      model: 'gemini-3.8-live',
      config: { responseModalities: [Modality.AUDIO] },
      callbacks: {
        onmessage: (message) => {
          events.push(message);
          if (message.serverContent?.turnComplete) done();
        },
        onerror: (error) => failed(new Error(error.message)),
        onclose: (close) => failed(new Error(`closed: ${close.code} ${close.reason}`)),
      },
    });
    session.sendClientContent({ turns: 'Hello 🦊', turnComplete: true });
    await ended;
    session.close();
  },
  deepgram_listen: async (events) => {
    const connection = await deepgram().listen.v1.connect({
      model: 'nova-3',
      encoding: 'linear16',
      sample_rate: 16000,
      reconnectAttempts: 0,
    });
    await heard(connection, events, (socket) => {
      socket.sendMedia(pcm);
      socket.sendMedia(pcm);
      socket.sendCloseStream({ type: 'CloseStream' });
    });
  },
  deepgram_flux: async (events) => {
    const connection = await deepgram().listen.v2.connect({
      model: 'flux-general-en',
      encoding: 'linear16',
      sample_rate: 16000,
      reconnectAttempts: 0,
    });
    await heard(connection, events, (socket) => {
      socket.sendMedia(pcm);
      socket.sendMedia(pcm);
      socket.sendCloseStream({ type: 'CloseStream' });
    });
  },
  deepgram_speak: async (events) => {
    const connection = await deepgram().speak.v1.connect({ model: 'aura-2-thalia-en', reconnectAttempts: 0 });
    await heard(connection, events, (socket) => {
      socket.sendText({ type: 'Speak', text: 'Hello 🦊, how are you?' });
      socket.sendFlush({ type: 'Flush' });
      socket.sendClose({ type: 'Close' });
    });
  },
  elevenlabs_transcribe: async (events) => {
    const client = new ElevenLabsClient({ apiKey: API_KEY, baseUrl: URLS.elevenlabs });
    const connection = await client.speechToText.realtime.connect({
      modelId: 'scribe_v2_realtime',
      audioFormat: 'pcm_16000',
      sampleRate: 16000,
    });
    await new Promise((resolve, reject) => {
      connection.on('session_started', (event) => {
        events.push(event);
        connection.send({ audioBase64: pcm.toString('base64') });
        connection.commit();
      });
      connection.on('partial_transcript', (event) => events.push(event));
      connection.on('committed_transcript', (event) => {
        events.push(event);
        resolve();
      });
      connection.on('error', reject);
      connection.on('close', () => reject(new Error('closed')));
    });
    connection.close();
  },
};

function deepgram() {
  const wss = URLS.deepgram.replace(/^http/, 'ws');
  const environment = { base: URLS.deepgram, production: wss, agent: wss, agentRest: URLS.deepgram };
  return new DeepgramClient({ apiKey: API_KEY, environment, reconnect: false });
}

function heard(connection, events, say) {
  return new Promise((resolve, reject) => {
    connection.on('message', (event) => events.push(plain(event)));
    connection.on('error', reject);
    connection.on('close', (close) => (events.length ? resolve() : reject(new Error(`closed: ${close?.code}`))));
    connection.connect();
    connection.waitForOpen().then(() => say(connection), reject);
  });
}

function plain(event) {
  if (event instanceof ArrayBuffer || ArrayBuffer.isView(event)) return { bytes: event.byteLength };
  if (event instanceof Blob) return { bytes: event.size };
  return event;
}

// Some of these SDKs raise a second time from an event handler; what counts has been noted by then.
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});

const out = {};
const names = process.argv.slice(2);
await Promise.all(
  (names.length ? names : Object.keys(cases)).map(async (name) => {
    const events = [];
    try {
      await within(cases[name](events));
      out[name] = { events };
    } catch (error) {
      out[name] = { events, error: { kind: error?.constructor?.name, message: String(error?.message ?? error) } };
    }
  }),
);
process.stdout.write(JSON.stringify(out), () => process.exit(0)); // some SDKs keep sockets and timers
