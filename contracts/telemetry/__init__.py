"""What all processes measure and trace: the metrics, the spans, and the context of a trace."""
