"""Mistral, beside what it shares with OpenAI: OCR and speech."""
