"""ElevenLabs: text spoken and sound heard, whole and live."""
