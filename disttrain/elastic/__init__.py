"""One worker's life: join, receive state, step, re-form, leave."""
