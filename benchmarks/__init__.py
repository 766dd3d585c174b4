"""What the library costs, as ratios to a peer or to the bare thing, paired in one session."""
