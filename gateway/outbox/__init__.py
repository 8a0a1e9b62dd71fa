"""What leaves the house by itself: webhooks, Slack and e-mail."""
