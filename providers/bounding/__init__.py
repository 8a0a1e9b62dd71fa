"""What a request can come to at most, told from its bytes: text, sound, pictures, documents."""
