"""What is made of results: theory beside them, measures, exports."""
