"""OpenAI's shapes, which most vendors speak: chat, Responses, embeddings, sound, pictures, the live socket."""
