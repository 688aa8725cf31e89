"""Tasks without a reference: judges, what they prefer where truth is known, and win rates."""
