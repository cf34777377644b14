"""What processes of an edge must remember together: limits, nonces, and answers that are good for a while."""
