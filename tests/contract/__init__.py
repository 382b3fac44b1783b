"""What Stripe promises its clients, tried on the sandbox or on Stripe's own test mode."""
