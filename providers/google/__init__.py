"""Google AI Studio: Gemini's shapes, and its live socket."""
