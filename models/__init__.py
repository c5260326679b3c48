"""What thinks: the catalogue, the local engine, and the formats in which models are spoken to."""
