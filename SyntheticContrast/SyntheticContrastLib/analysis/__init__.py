"""What an sCECT is worth: what changed, similarity, CNR, chambers, agreement, figures and reports."""
