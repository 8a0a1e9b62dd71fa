"""What every room of the providers stands on: usage, vendors, their quirks, names, and the one refusal."""
