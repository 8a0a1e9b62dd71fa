"""What is bought at Stripe becomes plans, windows and credits. Records and scripts; knows nothing of HTTP."""
