"""Which learning rate: one search by simulation, and the answers that follow from it."""
